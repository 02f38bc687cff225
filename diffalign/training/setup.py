"""Opening a run: from a recipe to everything that the loop holds. Checks that cost nothing come first."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from diffalign.data.records.lazy import concat_pairs
from diffalign.data.records.pair import Pair
from diffalign.errors import ConfigError
from diffalign.losses import Objective
from diffalign.pairs.dataset import DatasetPairs, from_memory, read_dataset
from diffalign.pairs.source import PairSource
from diffalign.policies.policy import Policy
from diffalign.training.held_out.evaluate import HeldOut
from diffalign.training.held_out.prune import drop_unused_answers, like_training_pairs
from diffalign.training.optim.ema import Ema
from diffalign.training.optim.optimizer import learning_rate, make_optimizer
from diffalign.training.precision import settle_precision
from diffalign.training.recipe.bind import bind_label, bind_loss, bind_pairs
from diffalign.training.recipe.compatibility import check_answers, check_loss_and_data, check_medium, check_model
from diffalign.training.recipe.model_kinds import model_kind, open_model
from diffalign.training.recipe.schema import Recipe, Train
from diffalign.training.report.header import header
from diffalign.training.report.health import Health
from diffalign.training.report.progress import ProgressReport
from diffalign.training.report.trackers import MetricsFile, check_trackers
from diffalign.training.rounds import Rounds, check_lengths
from diffalign.training.state import Run
from diffalign.training.step.batch_order import BatchOrder, Visit, draws_of_visits
from diffalign.training.step.bco_shift import BcoShift, bco_shift_rule
from diffalign.training.step.dataset_rewards import rewards_of
from diffalign.training.step.fast_slow import FastSlow
from diffalign.training.step.gradients import GradientComputer
from diffalign.training.step.kto_baseline import MismatchedPairs, mismatched_pairs
from diffalign.training.step.metrics import Metrics
from diffalign.training.step.spike_guard import SpikeGuard
from diffalign.training.storage.checkpoint import check_disk
from diffalign.training.storage.run_folder import RunFolder, check_output, claim_output, flat
from diffalign.training.storage.run_folder import dump as dump_recipe

MICRO = 8
"""Pairs in memory at once where the recipe does not say."""


def open_run(
    recipe: Recipe,
    policy: Policy | None,
    pairs: Sequence[Pair] | DatasetPairs | None,
    *,
    resume: bool,
    check_only: bool,
) -> Run:
    """Opens a run and prints its header. With ``check_only`` nothing is encoded, written or moved.

    Args:
        recipe: What to do.
        policy: Instead of the recipe's model.
        pairs: Instead of the recipe's data.
        resume: Whether the output folder's run goes on.
        check_only: Stop after the header.
    """
    output = RunFolder(recipe.output)
    trackers = check_trackers(recipe.log.trackers)
    check_output(output, recipe, resume)
    recipe, precision = settle_precision(recipe, output)
    accelerator = make_accelerator(recipe, trackers, output)
    train = recipe.train
    if train.batch_size < accelerator.num_processes:
        raise ConfigError(
            f"train.batch_size is {train.batch_size}, but {accelerator.num_processes} processes each need a pair. "
            f"Type: --set train.batch_size={accelerator.num_processes}"
        )
    rows = _rows(recipe, pairs)
    loss, label = bind_loss(recipe.loss), bind_label(recipe.labels, rows.ranges)
    check_model(loss, recipe.model)
    source = bind_pairs(recipe.pairs, model_kind(recipe.model).candidates())
    data = source(replace(rows, pairs=drop_unused_answers(rows.pairs, loss.roles)))
    check_loss_and_data(loss, data, label(data.pairs))  # a label raises for a row that lacks what it needs
    held_out = HeldOut.read(recipe.data)
    if held_out is not None:
        held_out = like_training_pairs(
            HeldOut(drop_unused_answers(held_out.pairs, loss.roles)), recipe.pairs.name, source
        ).fitting(loss, label)
    for known in (data.pairs if not data.every else [], held_out.pairs if held_out else []):
        check_answers(loss, known)
        rewards_of(loss, known)
    if policy is None:
        policy = open_model(recipe.model, gradient_checkpointing=train.gradient_checkpointing)
    check_medium(loss, policy.medium)
    check_lengths(data, policy)
    chase = _chase(train, loss, policy, accelerator.num_processes)
    trainable = policy.trainable()
    order = BatchOrder(len(data), train.batch_size, train.seed)
    report = ProgressReport(train.steps, active=accelerator.is_main_process)
    micro = _micro(train, loss, accelerator.num_processes)
    draws = train.draws_per_pair or (2 if loss.is_quadratic and policy.eval_draws > 1 else 1)
    processes = accelerator.num_processes
    report.say(header(recipe, policy, data, loss, processes=processes, micro=micro, precision=precision.summary))
    report.say(f"example  {policy.show(data.pairs[0])}")
    if precision.warning:
        report.say(f"warning: {precision.warning}")
    module = policy.module
    if not check_only:
        size = sum(p.numel() * p.element_size() for p in trainable.values())
        kept = (recipe.checkpoint.keep + 1) * (4 if train.ema_decay else 3)
        pool = -(-train.steps // data.every) if data.every else 0  # a source with rounds keeps the state of each
        check_disk(output.folder, (1 + kept + pool) * size)
        if accelerator.is_main_process:
            claim_output(output, recipe)
        _prepare(accelerator, policy, data, held_out, order, recipe.train, micro, report, loss, draws)
        _place(accelerator, policy)
    optimizer = accelerator.prepare_optimizer(_optimizer(train, trainable, chase))
    metrics = Metrics(loss)
    gradient_computer = GradientComputer(
        accelerator=accelerator,
        policy=policy,
        parameters=list(trainable.values()),
        pairs=data.pairs,
        loss=loss,
        label=label,
        metrics=metrics,
        seed=train.seed,
        micro_batch_size=micro,
        max_grad_norm=train.max_grad_norm,
        draws=draws,
        group_tau=train.group_robust,
        shift=BcoShift(bco_shift_rule(loss), accelerator.device),
        fast_slow=chase,
    )
    peak = max(learning_rate(train, step) for step in range(min(train.steps, train.warmup_steps + 1)))
    if trackers and not check_only:
        accelerator.init_trackers("diffalign", config={k: _plain(v) for k, v in flat(dump_recipe(recipe)).items()})
    return Run(
        recipe=recipe,
        output=output,
        accelerator=accelerator,
        policy=policy,
        module=module,
        trainable=trainable,
        optimizer=optimizer,
        ema=Ema(trainable, train.ema_decay) if train.ema_decay is not None else None,
        order=order,
        gradient_computer=gradient_computer,
        metrics=metrics,
        guard=SpikeGuard(recipe.guard),
        health=Health(loss.beta, peak, reference=loss.needs_reference),
        file=MetricsFile(output.metrics),
        report=report,
        data=data,
        held_out=held_out,
        rounds=Rounds(
            source=data,
            policy=policy,
            gradient_computer=gradient_computer,
            order=order,
            output=output,
            report=report,
            accelerator=accelerator,
            steps=train.steps,
            seed=train.seed,
            back=(train.previous_every or train.steps) if "previous" in loss.needs else 0,
        ),
    )


def _chase(train: Train, loss: Objective, policy: Policy, processes: int) -> FastSlow | None:
    """Two sets of weights, where the recipe wants them. Raises ConfigError where they cannot be trained."""
    wanted = train.fast_slow
    if wanted is None:
        return None
    if not loss.is_pure_margin:
        raise ConfigError(
            f"train.fast_slow compares the margins of two adapters, but the loss '{loss.name}' is no function of one "
            "margin. Type: --set loss.name=logistic   or: --set train.fast_slow=null"
        )
    if processes > 1:
        raise ConfigError("train.fast_slow trains in one process. Start one, or type: --set train.fast_slow=null")
    return FastSlow(wanted.alpha, wanted.rate, wanted.interval, policy.add_second_adapter())


def _optimizer(train: Train, trainable: Mapping[str, Any], chase: FastSlow | None) -> Any:
    """The recipe's optimizer; of two sets of weights the second is a group of its own, with a rate of its own."""
    if chase is None:
        return make_optimizer(train, trainable.values())
    second = chase.second.parameters
    optimizer = make_optimizer(train, [value for name, value in trainable.items() if name not in second])
    optimizer.add_param_group({"params": list(second.values())})
    return optimizer


def _micro(train: Train, loss: Objective, processes: int) -> int:
    """Pairs in memory at once. Raises ConfigError where all of a batch must be there together and are not."""
    if not loss.needs_whole_batch:
        return train.micro_batch_size or min(MICRO, -(-train.batch_size // processes))
    whole = train.batch_size
    if processes > 1 or (train.micro_batch_size or whole) < whole:
        raise ConfigError(
            f"the loss '{loss.name}' compares the pairs of a batch with each other, so one process must hold all "
            f"{whole} at once. Type: --set train.micro_batch_size={whole}, with one process, or a smaller batch_size"
        )
    return whole


def make_accelerator(recipe: Recipe, trackers: list[str], output: RunFolder) -> Any:
    """Accelerate's view of devices, processes and precision."""
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState, GradientState
    from accelerate.utils import DistributedDataParallelKwargs

    # The state is shared by all accelerators of a process; a second run may want another precision.
    AcceleratorState._reset_state()
    GradientState._reset_state()
    # Buffers do not change while training, so nothing has to be sent before each forward pass.
    ddp = DistributedDataParallelKwargs(broadcast_buffers=False, gradient_as_bucket_view=True)
    precision = recipe.train.mixed_precision
    accelerator = Accelerator(
        mixed_precision=precision, log_with=trackers or None, project_dir=str(output.folder), kwargs_handlers=[ddp]
    )
    launched = int(os.environ.get("WORLD_SIZE", 1))
    if launched > accelerator.num_processes:  # each would believe itself alone, and write over the others
        raise ConfigError(
            f"{launched} processes were launched, but this one finds {accelerator.num_processes}: on a machine without "
            "a GPU accelerate pairs processes only when it is told to. Set the environment: ACCELERATE_USE_CPU=true"
        )
    return accelerator


def _rows(recipe: Recipe, pairs: Sequence[Pair] | DatasetPairs | None) -> DatasetPairs:
    if isinstance(pairs, DatasetPairs):
        return pairs
    if pairs is not None:
        return from_memory(pairs)
    data = recipe.data
    return read_dataset(data.train, format=data.format, limit=data.limit, scores=data.scores, **data.options)


def _prepare(
    accelerator: Any,
    policy: Policy,
    data: PairSource,
    held_out: HeldOut | None,
    order: BatchOrder,
    train: Train,
    micro: int,
    report: ProgressReport,
    loss: Objective,
    draws: int,
) -> None:
    """Caches what can be cached; the first process does it, the others find it done."""
    known = concat_pairs(data.pairs, held_out.pairs if held_out else [])
    asked, plan = known, _plan(policy, data, held_out, order, train)
    if plan and "kto_baseline" in loss.needs:
        found = [stray for batch in plan for stray in mismatched_pairs(batch)]
        plan.append([(len(known) + k, stray.visit) for k, stray in enumerate(found)])
        asked = concat_pairs(known, MismatchedPairs(known, found))
    with accelerator.main_process_first():
        for line in policy.prepare(known, report.preparing):
            report.say(line)
        if plan:
            met = [visit for batch in plan for visit in batch]
            visits = [(index, draws_of_visits([visit], draws)[k][0]) for index, visit in met for k in range(draws)]
            with accelerator.autocast():
                # As many pairs at a time as in training: the same kernels, so the same rounding.
                prompts = "prompts" in loss.needs
                policy.prepare_reference(asked, visits, train.seed, micro, report.preparing, prompts)


def _plan(
    policy: Policy, data: PairSource, held_out: HeldOut | None, order: BatchOrder, train: Train
) -> list[list[Visit]]:
    """The batches that the reference will be asked of; held-out pairs come behind the others. Where pairs change from
    round to round, what it says of them cannot be known beforehand."""
    if data.every:
        return []
    batches = [order.batch(k) for k in range(train.steps)]
    return batches + ([held_out.plan(policy.eval_draws, first=len(data))] if held_out else [])


def _place(accelerator: Any, policy: Policy) -> None:
    """Moves the network to its device, and wraps it where several processes train it."""
    if accelerator.num_processes > 1:
        policy.module = accelerator.prepare_model(policy.module)
    else:
        policy.module.to(accelerator.device)


def _plain(value: Any) -> Any:
    return value if isinstance(value, (int, float, str, bool)) else str(value)
