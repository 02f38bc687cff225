"""Stage 4: builds optimizer, gradient computer, guards, reports and rounds, and joins them to a run."""

from __future__ import annotations

from typing import Any

from diffalign.losses import Objective
from diffalign.training.optim.ema import Ema
from diffalign.training.optim.optimizer import learning_rate, make_optimizer
from diffalign.training.recipe.schema import Recipe, Train
from diffalign.training.report.calibration import Calibration
from diffalign.training.report.health import Health
from diffalign.training.report.noise_watch import NoiseWatch
from diffalign.training.report.progress import ProgressReport
from diffalign.training.report.trackers import MetricsFile
from diffalign.training.rounds import Rounds
from diffalign.training.setup.batch_schedule import BatchSchedule
from diffalign.training.setup.bind_recipe import BoundRecipe
from diffalign.training.setup.open_accelerator_and_policy import OpenedModel
from diffalign.training.state import Run
from diffalign.training.step.bco_shift import BcoShift, bco_shift_rule
from diffalign.training.step.gradients import GradientComputer
from diffalign.training.step.memory_switches import memory_switches
from diffalign.training.step.metrics import Metrics
from diffalign.training.step.spike_guard import SpikeGuard
from diffalign.training.storage.run_folder import RunFolder
from diffalign.training.storage.trained_on import TrainedOn


def build_run(
    recipe: Recipe,
    accelerator: Any,
    model: OpenedModel,
    bound: BoundRecipe,
    schedule: BatchSchedule,
    output: RunFolder,
    report: ProgressReport,
    data: TrainedOn,
    noise: NoiseWatch | None = None,
    calibration: Calibration | None = None,
) -> Run:
    """Returns the run, before its first step."""
    train, loss = recipe.train, bound.loss
    optimizer = accelerator.prepare_optimizer(_optimizer(train, model))
    metrics = Metrics(loss)
    gradient_computer = GradientComputer(
        accelerator=accelerator,
        policy=model.policy,
        parameters=list(model.trainable.values()),
        pairs=bound.source.pairs,
        loss=loss,
        label=bound.label,
        metrics=metrics,
        seed=train.seed,
        micro_batch_size=schedule.micro_batch,
        micro_batch_tokens=schedule.tokens,
        max_grad_norm=train.max_grad_norm,
        draws=schedule.draws,
        group_tau=train.group_robust,
        bco_shift=BcoShift(bco_shift_rule(loss), accelerator.device),
        fast_slow=model.fast_slow,
        switches=memory_switches(recipe),
    )
    rounds = Rounds(
        source=bound.source,
        policy=model.policy,
        gradient_computer=gradient_computer,
        order=schedule.order,
        output=output,
        report=report,
        accelerator=accelerator,
        steps=train.steps,
        seed=train.seed,
        optimizer=optimizer.optimizer,
        trainable=model.trainable,
        previous_every=_previous_every(train, loss, bound.source.every),
    )
    return Run(
        recipe=recipe,
        output=output,
        accelerator=accelerator,
        policy=model.policy,
        module=model.module,
        trainable=model.trainable,
        optimizer=optimizer,
        ema=Ema(model.trainable, train.ema_decay) if train.ema_decay is not None else None,
        order=schedule.order,
        gradient_computer=gradient_computer,
        metrics=metrics,
        guard=SpikeGuard(recipe.guard),
        health=Health(loss.beta, _peak_learning_rate(train), reference=loss.needs_reference),
        metrics_file=MetricsFile(output.metrics),
        report=report,
        source=bound.source,
        held_out=bound.held_out,
        rounds=rounds,
        trained_on=data,
        noise=noise,
        calibration=calibration,
    )


def _optimizer(train: Train, model: OpenedModel) -> Any:
    """Returns the recipe's optimizer; a second adapter is a group of its own, with a learning rate of its own."""
    if model.fast_slow is None:
        return make_optimizer(train, model.trainable.values())
    second = model.fast_slow.second.parameters
    optimizer = make_optimizer(train, [value for name, value in model.trainable.items() if name not in second])
    optimizer.add_param_group({"params": list(second.values())})
    return optimizer


def _peak_learning_rate(train: Train) -> float:
    return max(learning_rate(train, step) for step in range(min(train.steps, train.warmup_steps + 1)))


def _previous_every(train: Train, loss: Objective, round_length: int) -> int:
    """Returns the steps between two snapshots of the policy, by default those of a round; 0: no loss reads them."""
    return (train.previous_every or round_length or train.steps) if "previous" in loss.needs else 0
