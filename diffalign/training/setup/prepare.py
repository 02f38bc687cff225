"""Stage 3: claims the output folder, fills the caches, stores what the reference computes, and places the network."""

from __future__ import annotations

from typing import Any

from diffalign.data.records.lazy_pairs import concat_pairs
from diffalign.devices.out_of_memory import explain_out_of_memory
from diffalign.devices.processes import ALONE, Processes
from diffalign.policies.policy import Policy, SupportsSharedPreparation
from diffalign.policies.stages import SupportsStages, enter_stage
from diffalign.training.recipe.schema import Recipe
from diffalign.training.report.progress import ProgressReport
from diffalign.training.setup.batch_schedule import BatchSchedule
from diffalign.training.setup.bind_recipe import BoundRecipe
from diffalign.training.setup.open_accelerator_and_policy import OpenedModel
from diffalign.training.step.batch_order import Visit, draws_of_visits
from diffalign.training.step.kto_baseline import MismatchedPairs, mismatched_pairs
from diffalign.training.storage.checkpoint import check_disk
from diffalign.training.storage.run_folder import RunFolder, claim_output


def prepare_run(
    recipe: Recipe,
    accelerator: Any,
    model: OpenedModel,
    bound: BoundRecipe,
    schedule: BatchSchedule,
    output: RunFolder,
    report: ProgressReport,
) -> None:
    """Does everything that is done once before the first step.

    Raises:
        RunError: Checkpoints and result do not fit on the disk.
    """
    check_disk(output.folder, checkpoint_bytes(recipe, model, bound))
    if accelerator.is_main_process:
        claim_output(output, recipe)
    _fill_caches(recipe, accelerator, model.policy, bound, schedule, report)
    enter_stage(model.policy, "update")
    if isinstance(model.policy, SupportsStages):
        model.policy.residency.bring("network")
    else:
        model.policy.module.to(accelerator.device)
    if accelerator.num_processes > 1:
        model.policy.module = accelerator.prepare_model(model.policy.module)


def checkpoint_bytes(recipe: Recipe, model: OpenedModel, bound: BoundRecipe) -> int:
    """Returns the bytes of the checkpoints that a run keeps at once, of its rounds, and of its result."""
    size = sum(parameter.numel() * parameter.element_size() for parameter in model.trainable.values())
    checkpoints = (recipe.checkpoint.keep + 1) * (4 if recipe.train.ema_decay else 3)
    # A source with rounds keeps the state of each.
    rounds = -(-recipe.train.steps // bound.source.every) if bound.source.every else 0
    return (1 + checkpoints + rounds) * size


def _fill_caches(
    recipe: Recipe,
    accelerator: Any,
    policy: Policy,
    bound: BoundRecipe,
    schedule: BatchSchedule,
    report: ProgressReport,
) -> None:
    """Encodes every pair, and computes what a stored reference returns at every visit of the run.

    Several processes compute a share each. Then the first one sees that everything is there, and the others read it.
    """
    pairs = concat_pairs(bound.source.pairs, bound.held_out.pairs if bound.held_out else [])
    enter_stage(policy, "encode")
    shared = accelerator.num_processes > 1 and isinstance(policy, SupportsSharedPreparation)
    processes = Processes(accelerator.process_index, accelerator.num_processes, accelerator) if shared else ALONE

    def encode() -> None:
        with explain_out_of_memory("the pairs are encoded", _encoding_advice(recipe)):
            if isinstance(policy, SupportsSharedPreparation):
                policy.prepare_share(pairs, processes, report.preparing)

    if shared:
        processes.together(encode)
    with (
        explain_out_of_memory("the pairs are encoded", _encoding_advice(recipe)),
        accelerator.main_process_first(),
    ):
        for line in policy.prepare(pairs, report.preparing):
            report.say(line)
    enter_stage(policy, "reference")
    if bound.source.every:  # the pairs of later rounds are unknown here
        return
    batches = _planned_batches(recipe.train.steps, policy, bound, schedule)
    if "kto_baseline" in bound.loss.needs:
        mismatches = [
            mismatch
            for k, batch in enumerate(batches)
            for mismatch in mismatched_pairs(batch, len(bound.source) if k < recipe.train.steps else len(pairs))
        ]
        batches.append([(len(pairs) + k, mismatch.visit) for k, mismatch in enumerate(mismatches)])
        pairs = concat_pairs(pairs, MismatchedPairs(pairs, mismatches))
    visits = [
        (index, draws_of_visits([visit], schedule.draws)[draw][0])
        for batch in batches
        for index, visit in batch
        for draw in range(schedule.draws)
    ]
    advice = f"Type: --resume --set train.micro_batch_size={max(1, schedule.micro_batch // 2)}"
    settings: dict[str, Any] = {
        "batch": schedule.micro_batch,  # as many pairs at once as in training: the same kernels, so the same rounding
        "progress": report.preparing,
        "prompts": "prompts" in bound.loss.needs,
    }

    def store() -> None:
        with explain_out_of_memory("the reference's numbers are computed", advice), accelerator.autocast():
            if isinstance(policy, SupportsSharedPreparation):
                policy.prepare_reference_share(pairs, visits, recipe.train.seed, processes, **settings)

    if shared:
        processes.together(store)
    with (
        explain_out_of_memory("the reference's numbers are computed", advice),
        accelerator.main_process_first(),
        accelerator.autocast(),
    ):
        policy.prepare_reference(pairs, visits, recipe.train.seed, **settings)


def _encoding_advice(recipe: Recipe) -> str:
    batch = getattr(recipe.model, "encode_batch", 1)
    return f"Type: --resume --set model.encode_batch={batch // 2}" if batch > 1 else "Use smaller images or texts"


def _planned_batches(steps: int, policy: Policy, bound: BoundRecipe, schedule: BatchSchedule) -> list[list[Visit]]:
    """Returns the visits of every step, then those of an evaluation; held-out pairs are numbered after the others."""
    batches = [schedule.order.batch(step) for step in range(steps)]
    if bound.held_out:
        batches.append(bound.held_out.visits(policy.eval_draws, first=len(bound.source)))
    return batches
