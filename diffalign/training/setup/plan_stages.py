"""The stages of a run with their memory: what is on the device, and what a pass makes there."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import Any

from torch import nn

from diffalign.data.records.lazy_pairs import concat_pairs
from diffalign.devices.activation_memory import passing_bytes
from diffalign.devices.block_offload import bytes_saved
from diffalign.devices.device_memory import format_bytes, module_bytes
from diffalign.devices.plan.stage import MemoryLine, Stage
from diffalign.devices.residency import StageName
from diffalign.policies.policy import SupportsPlan, TrialStage
from diffalign.training.optim.optimizer import state_bytes
from diffalign.training.recipe.schema import Recipe
from diffalign.training.setup.batch_schedule import BatchSchedule
from diffalign.training.setup.bind_recipe import BoundRecipe
from diffalign.training.setup.estimate_activations import NoTrial, passes_per_update, update_activations
from diffalign.training.setup.open_accelerator_and_policy import OpenedModel


@dataclass(frozen=True)
class PlannedRun:
    """A run that is opened, possibly without its weights, and not begun.

    Args:
        recipe: Its recipe.
        accelerator: Precision of its passes.
        model, bound, schedule: What the recipe names.
        processes: How many processes it will have, which may be more than there are now.
        own_memory: Whether its device will have memory of its own, so that parts can be away in the host's.
    """

    recipe: Recipe
    accelerator: Any
    model: OpenedModel
    bound: BoundRecipe
    schedule: BatchSchedule
    processes: int = 1
    own_memory: bool = True

    @property
    def share(self) -> int:
        """Pairs of a step on each process."""
        return -(-self.recipe.train.batch_size // self.processes)

    @property
    def at_once(self) -> int:
        """Pairs of a micro-batch."""
        return min(self.schedule.micro_batch, self.share)


def plan_stages(run: PlannedRun) -> list[Stage]:
    """Returns the stages that the run has, the update last. Where a pass cannot be followed its bytes are unknown."""
    policy, recipe = run.model.policy, run.recipe
    if not isinstance(policy, SupportsPlan):
        return [_update(run, {"network": module_bytes(run.model.module)})]
    sizes = {name: sum(map(module_bytes, modules)) for name, modules in policy.parts().items()}
    previews = [prompt for prompt in recipe.previews.prompts for _ in recipe.previews.seeds]
    trials = policy.trial_stages(previews, recipe.previews.sampling)
    sizes["network"] -= bytes_saved(run.model.module, run.own_memory)
    if policy.reference_bytes:
        sizes["reference"] = policy.reference_bytes

    def held(stage: StageName) -> dict[str, int]:
        return {name: sizes[name] for name in policy.residency.holds(stage, run.own_memory) if name in sizes}

    stages = []
    if "encode" in trials:
        stages.append(_without_gradient(run, "encode", trials["encode"], held("encode")))
    if policy.reference_kind == "stored":
        stages.append(_reference(run, held("reference")))
    update = _update(run, held("update"))
    if "sample" in trials:
        sample = _without_gradient(run, "sample", trials["sample"], held("sample"))
        stages.append(replace(sample, optimizer=update.optimizer))
    return [*stages, update]


def activations_phrase(run: PlannedRun, update: Stage) -> str:
    """Returns a phrase with the memory of a micro-batch's activations, for a header."""
    if update.activations is None:
        return f"activations (not estimated: {update.unknown})"
    passes = passes_per_update(run.model, run.schedule)
    times = f", {passes} passes" if passes > 1 else ""
    return f"about {format_bytes(update.activations)} activations of {update.at_once} at once (estimated{times})"


def update_line(run: PlannedRun) -> MemoryLine | None:
    """Returns the activations of an update as a line of the pairs at once; None where they cannot be followed."""
    measure = lambda count: update_activations(*_opened(run), count)
    try:
        first = measure(1)
        second = measure(min(4, run.share))
    except Exception:  # as in _update
        return None
    if first[0] == second[0]:
        return MemoryLine(0.0, first[1])
    return MemoryLine.through(first, second)


def disk_bytes(run: PlannedRun, checkpoints: int) -> tuple[tuple[str, int], ...]:
    """Returns the bytes on disk by what they are; ``checkpoints`` are those of checkpoints and result."""
    policy, bound = run.model.policy, run.bound
    pairs = concat_pairs(bound.source.pairs, bound.held_out.pairs if bound.held_out else [])
    cached = policy.cached_bytes(pairs) if isinstance(policy, SupportsPlan) else 0
    return (*((("cache", cached),) if cached else ()), ("checkpoints and result", checkpoints))


def _opened(run: PlannedRun) -> tuple[Any, OpenedModel, BoundRecipe, BatchSchedule]:
    return run.accelerator, run.model, run.bound, run.schedule


def _without_gradient(run: PlannedRun, name: str, trial: TrialStage, weights: dict[str, int]) -> Stage:
    return Stage(name, weights, activations=_followed(run, trial.run), at_once=trial.at_once)


def _reference(run: PlannedRun, weights: dict[str, int]) -> Stage:
    """Returns the passes that compute the numbers of a stored reference, as many pairs at once as in training."""

    def forward(network: nn.Module) -> object:
        policy, schedule = run.model.policy, run.schedule
        assert isinstance(policy, SupportsPlan)
        pairs = [run.bound.source.pairs[index] for index, _ in schedule.order.batch(0)][: schedule.micro_batch]
        return policy.trial_forward(pairs, run.bound.loss.needs)(network)

    count = min(run.schedule.micro_batch, run.share)
    return Stage(
        "reference", weights, activations=_followed(run, forward, run.accelerator.autocast()), at_once=_pairs(count)
    )


def _update(run: PlannedRun, weights: dict[str, int]) -> Stage:
    trained = list(run.model.trainable.values())
    gradients = sum(p.numel() * p.element_size() for p in trained)
    averaged = 4 * sum(p.numel() for p in trained) if run.recipe.train.ema_decay else 0
    optimizer = state_bytes(run.recipe.train.optimizer, trained) + averaged
    stage = Stage("update", weights, gradients, optimizer, at_once=_pairs(run.at_once))
    try:
        count, activations = update_activations(*_opened(run), run.at_once)
    except Exception as error:  # whatever an architecture does that cannot be followed, training may still do
        why = f"the network cannot be followed without values, {type(error).__name__}"
        return replace(stage, unknown="this policy has no trial_forward" if isinstance(error, NoTrial) else why)
    return replace(stage, activations=activations, at_once=_pairs(count))


def _followed(
    run: PlannedRun, forward: Callable[[nn.Module], object], precision: AbstractContextManager[Any] | None = None
) -> int | None:
    policy = run.model.policy
    assert isinstance(policy, SupportsPlan)
    try:
        with precision or nullcontext():
            return passing_bytes(run.model.module, forward, policy.residency.device)
    except Exception:  # as in _update
        return None


def _pairs(count: int) -> str:
    return "1 pair" if count == 1 else f"{count} pairs"
