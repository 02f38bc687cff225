"""Stage 2: opens the accelerator and the policy, and checks what only the opened policy can show."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import nn

from diffalign.data.storage.kept_latents import KeptLatent
from diffalign.devices.processes import check_all_found
from diffalign.errors import ConfigError
from diffalign.losses import Objective
from diffalign.policies.policy import Policy, SupportsKeptLatents
from diffalign.training.recipe.compatibility import check_medium
from diffalign.training.recipe.model_kinds import open_model
from diffalign.training.recipe.schema import Recipe, Train
from diffalign.training.rounds import check_lengths
from diffalign.training.setup.bind_recipe import BoundRecipe
from diffalign.training.step.fast_slow import FastSlow
from diffalign.training.step.gate_votes import check_gate_votes
from diffalign.training.storage.run_folder import RunFolder


@dataclass(frozen=True)
class OpenedModel:
    """A policy and its trainable parameters.

    Args:
        policy: The policy.
        module: Its bare network; ``policy.module`` may become a distributed wrapper of it.
        trainable: The parameters that the optimizer steps, by name.
        fast_slow: A fast and a slow adapter; None: there is one adapter.
    """

    policy: Policy
    module: nn.Module
    trainable: dict[str, nn.Parameter]
    fast_slow: FastSlow | None


def open_accelerator(recipe: Recipe, output: RunFolder) -> Any:
    """Returns accelerate's view of devices, processes and precision.

    Raises:
        ConfigError: The processes do not find each other, they would split the network, or a batch has fewer pairs than
            there are processes.
    """
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState, GradientState
    from accelerate.utils import DistributedDataParallelKwargs

    _check_launch()

    # The state is shared by all accelerators of a process; a second run may want another precision.
    AcceleratorState._reset_state()
    GradientState._reset_state()
    # Buffers do not change while training, so nothing has to be sent before each forward pass.
    ddp = DistributedDataParallelKwargs(broadcast_buffers=False, gradient_as_bucket_view=True)
    accelerator = Accelerator(
        mixed_precision=recipe.train.mixed_precision,
        log_with=list(recipe.log.trackers) or None,
        project_dir=str(output.folder),
        kwargs_handlers=[ddp],
    )
    check_all_found(accelerator)
    processes = accelerator.num_processes
    if recipe.train.batch_size < processes:
        raise ConfigError(
            f"train.batch_size is {recipe.train.batch_size}, but {processes} processes each need a pair. "
            f"Type: --set train.batch_size={processes}"
        )
    return accelerator


def _check_launch() -> None:
    """Raises ConfigError where the launcher's settings ask for the network to be split over processes."""
    from accelerate.utils import parse_flag_from_env

    for name in ("FSDP", "DEEPSPEED", "MEGATRON_LM"):
        if parse_flag_from_env(f"ACCELERATE_USE_{name}"):
            raise ConfigError(
                f"the launch asks for {name}, which splits the network over processes; here each process holds the "
                "whole network. Launch without it, and see what fits: diffalign plan RECIPE --memory 24GB"
            )


def open_policy(recipe: Recipe, policy: Policy | None, bound: BoundRecipe, processes: int) -> OpenedModel:
    """Returns the policy of a recipe, on its device.

    Args:
        recipe: The recipe.
        policy: Taken instead of the recipe's model.
        bound: The recipe's loss and pairs, which must fit the policy.
        processes: How many processes train.

    Raises:
        ConfigError: The policy does not fit the loss or the pairs.
    """
    if processes > 1 and getattr(recipe.model, "offload", None) is not None:  # a kind from outside may not have it
        raise ConfigError(
            f"model.offload 'blocks' trains in one process, and there are {processes}. Start one, or type: --set "
            "model.offload=null"
        )
    if policy is None:
        policy = open_model(recipe.model, gradient_checkpointing=recipe.train.gradient_checkpointing)
    check_medium(bound.loss, policy.medium)
    check_lengths(bound.source, policy)
    if recipe.data.latents is not None or recipe.data.eval_latents is not None:
        _check_kept_latents(bound, policy)
    fast_slow = _fast_slow(recipe.train, bound.loss, policy)
    check_gate_votes(bound.label([]), policy, fast_slow is not None)
    return OpenedModel(policy, policy.module, policy.trainable(), fast_slow)


def _check_kept_latents(bound: BoundRecipe, policy: Policy) -> None:
    """Raises ConfigError or DataError where kept latents are not of this model."""
    for pairs in (bound.source.pairs, bound.held_out.pairs if bound.held_out else ()):
        if isinstance(policy, SupportsKeptLatents):
            policy.check_kept_latents(pairs)
        elif any(isinstance(pair.chosen, KeptLatent) for pair in pairs):
            raise ConfigError("this model scores no latents of images. Type: --set data.latents=null")


def _fast_slow(train: Train, loss: Objective, policy: Policy) -> FastSlow | None:
    """Adds a second adapter where the recipe names one. Raises ConfigError where two cannot be trained."""
    settings = train.fast_slow
    if settings is None:
        return None
    if not loss.is_pure_margin:
        raise ConfigError(
            f"train.fast_slow compares the margins of two adapters, but the loss '{loss.name}' is no function of one "
            "margin. Type: --set loss.name=logistic   or: --set train.fast_slow=null"
        )
    return FastSlow(settings.alpha, settings.rate, settings.interval, policy.add_second_adapter())
