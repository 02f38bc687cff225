"""The loop: for each step a batch, its gradients, a check, an update. It is the same for all models and methods."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from diffalign.data.records.pair import Pair
from diffalign.devices.device_memory import peak_bytes
from diffalign.devices.halving import heard_by
from diffalign.devices.out_of_memory import explain_out_of_memory, is_out_of_memory
from diffalign.devices.peak_growth import PeakGrowth
from diffalign.errors import RunError
from diffalign.files.folder_lock import FolderLock
from diffalign.files.write_errors import explain_write_errors
from diffalign.pairs.dataset import DatasetPairs
from diffalign.policies.latent_noise import LatentNoise
from diffalign.policies.policy import Policy
from diffalign.policies.stages import enter_stage
from diffalign.training.ending import explain_end, saved_when_stopped
from diffalign.training.export import export
from diffalign.training.optim.optimizer import learning_rate, set_learning_rate
from diffalign.training.recipe.load import as_recipe
from diffalign.training.recipe.schema import Recipe
from diffalign.training.report.health import first_loss_alarm
from diffalign.training.report.previews import has_preview_curve, has_previews, measure_drift, save_previews
from diffalign.training.report.trackers import KEPT
from diffalign.training.setup.assemble_run import open_run
from diffalign.training.state import GO_ON, Run
from diffalign.training.step.batch_order import Visit
from diffalign.training.step.spike_guard import Verdict
from diffalign.training.step.step_stats import StepStats
from diffalign.training.stop import StopNow, StopSignals, stop_signals
from diffalign.training.storage.run_folder import RunFolder

OPTIMIZER_ADVICE = "Type: --set train.optimizer=adafactor, or train an adapter of a smaller rank"


@dataclass(frozen=True)
class Result:
    """The result of a run.

    Args:
        output: Its folder.
        artifact: The path that :meth:`Policy.save` returned; None on processes other than the first, and after a check.
        steps: Optimizer steps done.
        metrics: The last record of ``metrics.jsonl``.
        summary: Sentences about the curves.
        noise: The noise of the inverted latents before training; None: there are none, or nothing was trained.
        data_changes: How the data changed while the run was stopped, each a sentence.
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
    data_changes: tuple[str, ...] = ()
    noise: LatentNoise | None = None


def train(
    recipe: Recipe | str | Path | Mapping[str, Any],
    *,
    policy: Policy | None = None,
    pairs: Sequence[Pair] | DatasetPairs | None = None,
    resume: bool = False,
    check_only: bool = False,
    resume_on_changed_data: bool = False,
) -> Result:
    """Aligns a policy as a recipe says.

    Args:
        recipe: Everything that decides the run: a recipe, its file, or nested values as the file would hold them.
        policy: Trained instead of the one that ``recipe.model`` names.
        pairs: Used instead of those that ``recipe.data`` names.
        resume: Continue the run in ``recipe.output``, from its last complete checkpoint, exactly.
        check_only: Print the header and stop: nothing is encoded or written.
        resume_on_changed_data: Continue the run even if its data is not what it was trained on; header, card and report
            say so.

    Raises:
        Stopped: Ctrl-C or SIGTERM. A checkpoint of the last step is written.
        RunError: The output folder holds another run or is in use, the disk is too small, a loss is not finite, or
            spikes persist.
        ConfigError, DataError: A name in the recipe is wrong, or its file cannot be read.
    """
    recipe, resume = as_recipe(recipe), resume or resume_on_changed_data
    output = RunFolder(recipe.output)
    with stop_signals() as stop, explain_end(output, stop), FolderLock(output.folder) as lock:
        with stop.droppable():
            options: dict[str, bool] = {"check_only": check_only, "changed_data": resume_on_changed_data}
            run = open_run(recipe, policy, pairs, lock, resume=resume, **options)
            if check_only:
                return Result(run.output.folder, None, 0, {}, (), run.policy, run.recipe)
            if resume:
                run.resume()
                run.report.say(f"resumed after step {run.step}")
        with run.report, heard_by(run.report.say), saved_when_stopped(run, stop):
            if run.step == 0:
                if recipe.guard.action == "rollback":
                    run.save()  # so that there is always a checkpoint to go back to
                preview(run, stop)
            elif resume and run.preview_is_due:
                preview(run, stop, missing=True)  # the run ended between the step and its preview
            while run.step < recipe.train.steps:
                with stop.droppable(not run.guard.streak):
                    run.enter_round()
                with measured_first_step(run) if run.step == 0 else nullcontext():
                    training_step(run)
                stop_where_safe(run, stop)
                if run.preview_is_due:
                    preview(run, stop)
        with stop.droppable():
            return finish(run, stop)


def stop_where_safe(run: Run, stop: StopSignals) -> None:
    """Between two steps: raises StopNow where any process received a signal.

    Within a spike the run must not save, so it goes on: the spike ends after a few steps.
    """
    if not run.guard.streak and stop.agreed(run.accelerator):
        raise StopNow(agreed=True)


@contextmanager
def measured_first_step(run: Run) -> Iterator[None]:
    """Says after the block what memory the first step took beside its plan."""
    with PeakGrowth(run.accelerator.device) as growth:
        yield
    if run.calibration is not None and (line := run.calibration.compare(growth.bytes)):
        run.report.say(line)


def training_step(run: Run) -> None:
    """Does one optimizer step, then writes the log line and the checkpoint that are due."""
    started = time.perf_counter()
    rate = set_rates(run)
    batch = run.order.batch(run.step)
    stats = run.gradient_computer.gradients(batch, run.step)
    if run.step == 0:
        check_first_loss(run, batch, stats)
    verdict = run.guard.check(stats)
    if verdict == "ok" or run.recipe.guard.action == "warn":
        update_weights(run)
    run.optimizer.zero_grad(set_to_none=True)
    if verdict != "ok":
        react_to_spike(run, verdict)
    run.step += 1
    run.seconds += time.perf_counter() - started
    report_progress(run)
    if run.step % run.recipe.log.every == 0 or run.is_done:
        log_metrics(run, stats, rate)
    if run.checkpoint_is_due:
        run.save()


def set_rates(run: Run) -> float:
    """Writes the step's learning rate into the optimizer, a smaller one for a slow adapter, and returns it."""
    rate = learning_rate(run.recipe.train, run.step)
    set_learning_rate(run.optimizer, rate)
    if run.gradient_computer.fast_slow is not None:
        run.gradient_computer.fast_slow.reduce_slow_rate(run.optimizer)
    return rate


def update_weights(run: Run) -> None:
    """Lets the optimizer step, and everything that follows the weights."""
    with explain_out_of_memory("the optimizer's state is made", OPTIMIZER_ADVICE):
        run.optimizer.step()
    if run.gradient_computer.fast_slow is not None:
        run.gradient_computer.fast_slow.after_step()
    if run.ema is not None:
        run.ema.update()


def check_first_loss(run: Run, batch: Sequence[Visit], stats: StepStats) -> None:
    """Warns when the loss before the first update is not the loss at which policy and reference are equal."""
    label = run.gradient_computer.label([run.gradient_computer.pairs[index] for index, _ in batch])
    at_zero = run.gradient_computer.loss.at_zero
    if at_zero is not None and (alarm := first_loss_alarm(stats.loss, float(label.weight.mean()) * at_zero)):
        run.report.say(f"warning: {alarm}")


def react_to_spike(run: Run, verdict: Verdict) -> None:
    """Does what the recipe says about a spike. The update of this step has been left out, except for a warning."""
    config, what = run.recipe.guard, f"step {run.step + 1}: {run.guard.outlier_metric} is far above the last steps"
    if verdict == "skip":
        run.report.say(f"{what}; this update is left out ({run.guard.skips} of at most {config.max_skips})")
    elif config.action == "warn":
        run.report.say(
            f"warning: {what}, for {run.guard.streak} steps in a row. Look at a preview before trusting the result."
        )
        run.guard.reset_streak()
    elif config.action == "rollback" and run.rollbacks < config.max_rollbacks:
        step = run.roll_back()
        run.report.say(f"{what}; weights go back to step {step}, training continues with the next batch")
    else:
        raise RunError(
            f"{what}, and guard.action '{config.action}' allows no more ({run.rollbacks} rollbacks, {run.guard.skips} "
            f"skips). The last good checkpoint is in {run.output.checkpoints}. Lower train.learning_rate or raise "
            "loss.beta, and start again in another folder; or ignore spikes: --set guard.action=off --resume"
        )


def report_progress(run: Run) -> None:
    """Shows the step, and the messages of its gradients."""
    while run.gradient_computer.messages:
        run.report.say(run.gradient_computer.messages.pop(0))
    run.report.step(run.step)


def log_metrics(run: Run, stats: StepStats, rate: float) -> None:
    """Writes the means of the log window, over all processes, to the metrics file, the terminal and the trackers."""
    record: dict[str, Any] = {
        "step": run.step,
        "epoch": run.order.epochs(run.step),
        **run.metrics.read(run.reduce),
        "grad_norm": stats.grad_norm,
        "learning_rate": rate,
    }
    run.metrics.clear()
    if run.held_out and run.evaluation_is_due:
        half = max(1, run.gradient_computer.micro_batch_size // 2)
        advice = f"Type: --resume --set train.micro_batch_size={half}"
        with run.fast_activated(), explain_out_of_memory("held-out pairs are evaluated", advice):
            record |= run.held_out.evaluate(run.gradient_computer, run.reduce)
    if run.noise is not None:
        with run.fast_activated(), explain_out_of_memory("the error under forward noising is measured", GO_ON):
            record |= run.noise.measure()
    run.logged_step = run.step
    record |= run.speed()
    if run.is_main:
        run.metrics_file.append(record)
        for alarm in run.health.observe(record):
            run.report.say(f"warning: {alarm}")
        run.report.numbers(run.step, record)
    if run.recipe.log.trackers:
        run.accelerator.log({name: value for name, value in record.items() if name != "step"}, step=run.step)


def preview(run: Run, stop: StopSignals, missing: bool = False) -> None:
    """Samples the recipe's prompts, with averaged weights where there are any; with ``missing`` unless they are there.

    A run that has no memory for its previews goes on without them: they do not change it.
    """
    there = missing and has_previews(run.recipe.previews, run.output.previews, run.step)
    if run.is_main and run.recipe.previews.prompts and not there:
        # Other processes wait here, and leave together after the next step; within a spike nothing may be saved.
        alone = run.accelerator.num_processes == 1 and not run.guard.streak
        enter_stage(run.policy, "sample")
        try:
            with stop.droppable(alone), run.as_shared(), explain_write_errors(run.output.previews, KEPT):
                _sample_previews(run)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            run.report.say(
                f"warning: out of memory while previews are sampled at step {run.step}; the run goes on without them. "
                "They are sampled together, so fewer need less: resume with --set previews.prompts=[PROMPT]"
            )
            torch.cuda.empty_cache()
        enter_stage(run.policy, "update")
    run.accelerator.wait_for_everyone()


def _sample_previews(run: Run) -> None:
    config = run.recipe.previews
    paths = save_previews(run.policy, config, run.output.previews, run.step)
    if has_preview_curve(run.recipe):
        problem = measure_drift(run.policy, config, paths, run.output.folder, run.step)
        if problem:
            run.report.say(f"warning: {problem}")


def finish(run: Run, stop: StopSignals) -> Result:
    """Writes the last preview and the file that users share, and prints a summary of the curves."""
    preview(run, stop)
    records = run.metrics_file.records()
    artifact = None
    with run.as_shared():
        if run.is_main:
            with explain_out_of_memory("the result is written", GO_ON), explain_write_errors(run.output.result, KEPT):
                artifact = export(run)
    summary = tuple(run.health.summary()) if run.is_main else ()
    for sentence in summary:
        run.report.say(sentence)
    if run.is_main:
        run.report.say(f"result: {artifact}   peak memory: {peak_bytes() / 1e9:.2f} GB")
        run.report.say(run.policy.forward_counts.summary())
        if run.calibration is not None:
            run.calibration.remember()
    if run.recipe.log.trackers:
        run.accelerator.end_training()
    run.accelerator.wait_for_everyone()
    run.policy.module = run.module
    if run.ema is not None:
        run.ema.commit()  # the returned policy is the exported one
    if run.gradient_computer.fast_slow is not None:
        run.gradient_computer.fast_slow.commit()
    metrics = records[-1] if records else {}
    changes, noise = run.trained_on.changes, run.noise.before if run.noise is not None else None
    return Result(run.output.folder, artifact, run.step, metrics, summary, run.policy, run.recipe, changes, noise)
