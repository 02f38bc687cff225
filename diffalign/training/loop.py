"""The loop: batch after batch, gradients, a look at them, one step. It knows neither modality nor method."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diffalign.data.records.pair import Pair
from diffalign.errors import RunError
from diffalign.pairs.dataset import DatasetPairs
from diffalign.policies.policy import Policy
from diffalign.training.export import export
from diffalign.training.memory import peak_bytes
from diffalign.training.optim.optimizer import learning_rate, set_learning_rate
from diffalign.training.recipe.schema import Recipe
from diffalign.training.report.health import first_loss_alarm
from diffalign.training.report.previews import measure_drift, save_previews, to_be_judged
from diffalign.training.setup import open_run
from diffalign.training.state import Run
from diffalign.training.step.spike_guard import StepStats


@dataclass(frozen=True)
class Result:
    """What a run leaves.

    Args:
        output: Its folder.
        artifact: What :meth:`Policy.save` wrote; None on processes other than the first, and after a mere check.
        steps: Optimizer steps done.
        metrics: The last record of ``metrics.jsonl``.
        summary: What the curves say, in sentences.
        policy: The trained policy, its network unwrapped.
        recipe: The recipe as it was followed: with the precision that ``auto`` became.
    """

    output: Path
    artifact: Path | None
    steps: int
    metrics: dict[str, float]
    summary: tuple[str, ...]
    policy: Policy
    recipe: Recipe


def train(
    recipe: Recipe,
    *,
    policy: Policy | None = None,
    pairs: Sequence[Pair] | DatasetPairs | None = None,
    resume: bool = False,
    check_only: bool = False,
) -> Result:
    """Aligns a policy as a recipe says.

    Args:
        recipe: Everything that decides the run.
        policy: Trained instead of the one that ``recipe.model`` names.
        pairs: Trained on instead of those that ``recipe.data`` names.
        resume: Go on with the run in ``recipe.output``, from its last complete checkpoint, exactly.
        check_only: Print the header and stop: nothing is encoded or written.

    Raises:
        RunError: The output folder holds another run, the disk is too small, a loss is not finite, or spikes persist.
        ConfigError, DataError: What is named cannot be followed or read.
    """
    run = open_run(recipe, policy, pairs, resume=resume, check_only=check_only)
    if check_only:
        return Result(run.output.folder, None, 0, {}, (), run.policy, run.recipe)
    if resume:
        run.resume()
        run.report.say(f"resumed after step {run.step}")
    with run.report:
        if run.step == 0:
            if recipe.guard.action == "rollback":
                run.save()  # so that there is always something to go back to
            preview(run)
        while run.step < recipe.train.steps:
            run.enter_round()
            advance(run)
    return finish(run)


def advance(run: Run) -> None:
    """One optimizer step, with everything that follows from it."""
    train = run.recipe.train
    started = time.perf_counter()
    rate = learning_rate(train, run.step)
    set_learning_rate(run.optimizer, rate)
    chase = run.gradient_computer.fast_slow
    if chase is not None:
        chase.slow_down(run.optimizer)
    reading = run.gradient_computer.gradients(run.order.batch(run.step), run.step)
    if run.step == 0:
        check_first(run, reading)
    verdict = run.guard.check(reading)
    if verdict == "ok" or run.recipe.guard.action == "warn":
        run.optimizer.step()
        if chase is not None:
            chase.stepped()
        if run.ema is not None:
            run.ema.update()
    run.optimizer.zero_grad(set_to_none=True)
    if verdict != "ok":
        react(run, verdict)
    run.step += 1
    run.seconds += time.perf_counter() - started
    while run.gradient_computer.messages:
        run.report.say(run.gradient_computer.messages.pop(0))
    run.report.step(run.step)
    if run.step % run.recipe.log.every == 0 or run.step == train.steps:
        log(run, reading, rate)
    every = run.recipe.checkpoint.every
    # A checkpoint in the middle of a spike would be no place to go back to.
    if run.step == train.steps or (every and run.step % every == 0 and not run.guard.streak):
        run.save()
    if run.recipe.previews.every and run.step % run.recipe.previews.every == 0 and run.step < train.steps:
        preview(run)


def check_first(run: Run, reading: StepStats) -> None:
    """Before the first update the loss is known; says so when it is another."""
    pairs = [run.gradient_computer.pairs[index] for index, _ in run.order.batch(0)]
    weight = float(run.gradient_computer.label(pairs).weight.mean())
    at_zero = run.gradient_computer.loss.at_zero
    if at_zero is not None and (alarm := first_loss_alarm(reading.loss, weight * at_zero)):
        run.report.say(f"warning: {alarm}")


def react(run: Run, verdict: str) -> None:
    """Does what the recipe says about a spike. But for a mere warning the update of this step has been left out."""
    config, what = run.recipe.guard, f"step {run.step + 1}: {run.guard.outlier_metric} stands far above the last steps"
    if verdict == "skip":
        run.report.say(f"{what}; this update is left out ({run.guard.skips} of at most {config.max_skips})")
    elif config.action == "warn":
        run.report.say(
            f"warning: {what}, for {run.guard.streak} steps in a row. Look at a preview before trusting the result."
        )
        run.guard.reset_streak()
    elif config.action == "rollback" and run.rollbacks < config.max_rollbacks:
        back = run.roll_back()
        run.report.say(f"{what}; weights go back to step {back}, training goes on with the next batch")
    else:
        raise RunError(
            f"{what}, and guard.action '{config.action}' goes no further ({run.rollbacks} rollbacks, {run.guard.skips} "
            f"skips). The last good checkpoint is in {run.output.checkpoints}. Lower train.learning_rate or raise "
            "loss.beta, and start anew in another folder; or look away with --set guard.action=off and --resume."
        )


def log(run: Run, reading: StepStats, rate: float) -> None:
    """Reads the window's metrics, over all processes, and tells them to everybody who listens."""
    record: dict[str, Any] = {
        "step": run.step,
        "epoch": run.order.epochs(run.step),
        **run.metrics.read(run.reduce),
        "grad_norm": reading.grad_norm,
        "learning_rate": rate,
    }
    run.metrics.clear()
    every, steps = run.recipe.data.eval_every, run.recipe.train.steps
    if run.held_out and (run.step == steps or (every and run.step // every > run.looked // every)):
        with run.fast_activated():
            record |= run.held_out.measure(run.gradient_computer, run.reduce)
    run.looked = run.step
    record |= run.speed()
    if run.main:
        run.file.append(record)
        for alarm in run.health.observe(record):
            run.report.say(f"warning: {alarm}")
        run.report.numbers(run.step, record)
    if run.recipe.log.trackers:
        run.accelerator.log({name: value for name, value in record.items() if name != "step"}, step=run.step)


def preview(run: Run) -> None:
    """Samples the recipe's prompts, with averaged weights where there are any."""
    if run.main and run.recipe.previews.prompts:
        with run.as_shared():
            config = run.recipe.previews
            paths = save_previews(run.policy, config, run.output.previews, run.step)
            if to_be_judged(run.recipe):
                why = measure_drift(run.policy, config, paths, run.output.folder, run.step)
                if why:
                    run.report.say(f"warning: {why}")
    run.accelerator.wait_for_everyone()


def finish(run: Run) -> Result:
    """The last preview, the file that users share, and what the curves say."""
    preview(run)
    records = run.file.records()
    artifact = None
    with run.as_shared():
        if run.main:
            artifact = export(run)
    words = tuple(run.health.summary()) if run.main else ()
    for text in words:
        run.report.say(text)
    if run.main:
        run.report.say(f"result: {artifact}   peak memory: {peak_bytes() / 1e9:.2f} GB")
        run.report.say(run.policy.forward_counts.summary())
    if run.recipe.log.trackers:
        run.accelerator.end_training()
    run.accelerator.wait_for_everyone()
    run.policy.module = run.module
    if run.ema is not None:
        run.ema.commit()  # what is returned is what was exported
    if run.gradient_computer.fast_slow is not None:
        run.gradient_computer.fast_slow.commit()
    metrics = records[-1] if records else {}
    return Result(run.output.folder, artifact, run.step, metrics, words, run.policy, run.recipe)
