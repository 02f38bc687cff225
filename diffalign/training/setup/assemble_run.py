"""Opens a run: from a recipe to everything that the loop needs. Checks that cost nothing come first."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from diffalign.data.records.pair import Pair
from diffalign.devices.device_memory import module_bytes
from diffalign.devices.halving import heard_by
from diffalign.devices.out_of_memory import explain_out_of_memory
from diffalign.devices.plan.stage import Stage
from diffalign.devices.processes import from_main
from diffalign.devices.residency import has_own_memory
from diffalign.files.folder_lock import FolderLock
from diffalign.pairs.dataset import DatasetPairs
from diffalign.policies.policy import Policy, SupportsTrialForward
from diffalign.training.optim.optimizer import check_optimizer
from diffalign.training.recipe.schema import Recipe
from diffalign.training.report.calibration import Calibration
from diffalign.training.report.header import header
from diffalign.training.report.noise_watch import NoiseWatch
from diffalign.training.report.progress import ProgressReport
from diffalign.training.report.trackers import check_trackers
from diffalign.training.setup.batch_schedule import schedule_batches
from diffalign.training.setup.bind_recipe import bind_recipe
from diffalign.training.setup.build import build_run
from diffalign.training.setup.open_accelerator_and_policy import open_accelerator, open_policy
from diffalign.training.setup.plan_stages import PlannedRun, activations_phrase, plan_stages
from diffalign.training.setup.prepare import prepare_run
from diffalign.training.setup.resolve_mixed_precision import settle_precision
from diffalign.training.state import Run
from diffalign.training.storage.check_output import check_output
from diffalign.training.storage.run_folder import RunFolder
from diffalign.training.storage.stored_recipe import dump, flat
from diffalign.training.storage.trained_on import TrainedOn, trained_on


def open_run(
    recipe: Recipe,
    policy: Policy | None,
    pairs: Sequence[Pair] | DatasetPairs | None,
    lock: FolderLock | None = None,
    *,
    resume: bool,
    check_only: bool,
    changed_data: bool = False,
) -> Run:
    """Opens a run and prints its header. With ``check_only`` nothing is encoded, written or moved.

    Args:
        recipe: The recipe of the run.
        policy: Taken instead of the recipe's model.
        pairs: Taken instead of the recipe's data.
        lock: Of the output folder; taken before anything is read, unless only checks are made.
        resume: Whether the run in the output folder continues.
        check_only: Stop after the header.
        changed_data: Whether a resumed run may continue on other data.
    """
    output = RunFolder(recipe.output)
    check_trackers(recipe.log.trackers)
    beside = check_output(output, recipe, resume, check_only)
    recipe, precision = settle_precision(recipe, output)
    accelerator = open_accelerator(recipe, output)
    check_optimizer(recipe.train, accelerator.device)
    if lock is not None and not check_only:
        from_main(accelerator, lock.acquire)
    processes = accelerator.num_processes
    report = ProgressReport(recipe.train.steps, active=accelerator.is_main_process)
    bound = bind_recipe(recipe, pairs)
    read = partial(
        trained_on,
        output,
        bound.source.pairs,
        bound.ranges,
        resume=resume,
        changed=changed_data,
        progress=report.preparing,
    )
    data: TrainedOn = from_main(accelerator, read)
    with explain_out_of_memory("the model is opened", "Take a smaller model, or free some memory"):
        model = open_policy(recipe, policy, bound, processes)
    schedule = schedule_batches(recipe.train, bound, model.policy, processes)
    planned, activations = _plan(
        PlannedRun(recipe, accelerator, model, bound, schedule, processes, has_own_memory(accelerator.device))
    )
    report.say(
        header(
            recipe,
            model.policy,
            bound.source,
            bound.loss,
            processes=processes,
            micro=schedule.micro_batch,
            precision=precision.summary,
            activations=activations,
            stages=planned,
            changes=data.changes,
        )
    )
    if data.notice:
        report.say(f"notice: {data.notice}")
    report.say(f"example  {model.policy.show(bound.source.pairs[0])}")
    if beside:
        report.say(f"notice: {beside}")
    for warning in (precision.warning, *bound.warnings):
        if warning:
            report.say(f"warning: {warning}")
    noise = None
    if not check_only:
        with heard_by(report.say):
            prepare_run(recipe, accelerator, model, bound, schedule, output, report)
        noise = NoiseWatch.begin(model.policy, accelerator, bound.source.pairs, schedule.micro_batch)
    for line in noise.lines() if noise is not None else ():
        report.say(line)
    calibration = Calibration(recipe, accelerator.device, processes, planned[-1] if planned else None)
    run = build_run(recipe, accelerator, model, bound, schedule, output, report, data, noise, calibration)
    if recipe.log.trackers and not check_only:
        settings = {key: value if isinstance(value, PLAIN) else str(value) for key, value in flat(dump(recipe)).items()}
        accelerator.init_trackers("diffalign", config=settings)
    return run


def _plan(run: PlannedRun) -> tuple[list[Stage], str]:
    """Returns the planned stages, and a phrase on the activations; no stages where they are not worth the time."""
    if not run.accelerator.is_main_process:
        return [], "activations"
    if isinstance(run.model.policy, SupportsTrialForward) and module_bytes(run.model.module) < SMALL:
        return [], "activations (not estimated for so small a model)"
    stages = plan_stages(run)
    return stages, activations_phrase(run, stages[-1])


SMALL = 10**6
"""Bytes of weights below which nothing is planned: following the passes would take longer than a training step."""
PLAIN = (bool, int, float, str)
"""Types of values that every tracker stores."""
