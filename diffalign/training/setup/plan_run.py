"""Plans the memory of a recipe before anything is loaded, and finds what to change so that it fits."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from importlib.util import find_spec
from typing import Any

from diffalign.data.records.pair import Pair
from diffalign.devices.device_memory import available_bytes, best_device
from diffalign.devices.plan.calibration import read_calibration
from diffalign.devices.plan.fit import Step, fit
from diffalign.devices.plan.plan import CONTEXT, Change, MemoryPlan, yaml_word
from diffalign.devices.plan.stage import MemoryLine, Stage
from diffalign.errors import ConfigError
from diffalign.files.weightless import without_weights
from diffalign.training.recipe.load import make_recipe
from diffalign.training.recipe.override import override
from diffalign.training.recipe.schema import Recipe
from diffalign.training.report.calibration import cache_folder, calibration_key
from diffalign.training.setup.batch_schedule import schedule_batches
from diffalign.training.setup.bind_recipe import BoundRecipe, bind_recipe
from diffalign.training.setup.open_accelerator_and_policy import open_accelerator, open_policy
from diffalign.training.setup.plan_stages import PlannedRun, disk_bytes, plan_stages, update_line
from diffalign.training.setup.prepare import checkpoint_bytes
from diffalign.training.setup.resolve_mixed_precision import settle_precision
from diffalign.training.storage.run_folder import RunFolder
from diffalign.training.storage.stored_recipe import dump

ADVICE = (
    "Even so it does not fit. Take a smaller model or resolution, shorter texts, or an adapter: model.adapter.rank=16"
)


def plan_recipe(
    recipe: Recipe, memory: int | None = None, processes: int = 1, pairs: Sequence[Pair] | None = None
) -> tuple[Recipe, MemoryPlan]:
    """Returns a recipe that fits, as far as changes without another result or a small one allow, and its plan.

    Nothing is loaded but configurations and the rows of the data; nothing is written.

    Args:
        recipe: The recipe.
        memory: Bytes of each device. None: what is free on this machine's. With a number the plan is for a GPU, whose
            libraries take :data:`~diffalign.devices.plan.plan.CONTEXT`, in bf16 where the recipe leaves that open.
        processes: Devices that share each batch.
        pairs: Taken instead of the recipe's data.

    Raises:
        ConfigError, DataError: As before a training.
    """
    if recipe.train.batch_size < processes:
        raise ConfigError(
            f"train.batch_size is {recipe.train.batch_size}, but {processes} devices each need a pair. Type: --set "
            f"train.batch_size={processes}   or fewer --devices"
        )
    device = best_device()
    context = CONTEXT["cuda"] if memory is not None or device.type == "cuda" else 0
    limit = available_bytes(device) if memory is None else memory
    if memory is not None and recipe.train.mixed_precision == "auto":
        recipe = with_settings(recipe, {"train.mixed_precision": "bf16"})
    output = RunFolder(recipe.output)
    recipe, _ = settle_precision(recipe, output)
    bound, accelerator = bind_recipe(recipe, pairs), open_accelerator(recipe, output)

    def measure(settings: Recipe) -> tuple[Recipe, list[Change], MemoryPlan]:
        with without_weights():
            return _measure(settings, bound, accelerator, limit, context, processes)

    found, plan = fit(recipe, measure, _further)
    folder = cache_folder(found)
    earlier = read_calibration(folder, calibration_key(found, device, processes)) if folder is not None else None
    return found, plan if earlier is None else replace(plan, seconds=earlier.seconds, ratio=earlier.ratio)


def with_settings(recipe: Recipe, settings: Mapping[str, object]) -> Recipe:
    """Returns a recipe with values replaced by their paths."""
    values: Any = dump(recipe)
    for path, value in settings.items():
        values = override(values, f"{path}={yaml_word(value)}")
    return make_recipe(values)


def _measure(
    recipe: Recipe, bound: BoundRecipe, accelerator: Any, limit: int, context: int, processes: int
) -> tuple[Recipe, list[Change], MemoryPlan]:
    """Returns a recipe with the largest pieces that fit, what was changed for that, and its plan."""
    model = open_policy(recipe, None, bound, processes)
    schedule = schedule_batches(recipe.train, bound, model.policy, processes)
    run = PlannedRun(recipe, accelerator, model, bound, schedule, processes, own_memory=context > 0)
    stages, changes = plan_stages(run), []
    update = stages[-1]
    if context + update.total > limit and not bound.loss.needs_whole_batch and (line := update_line(run)) is not None:
        fitting = line.most(limit - context - update.resident, run.at_once - 1) or 1
        if fitting < run.at_once:
            stages = [*stages[:-1], _smaller(update, line, fitting)]
            cost = f"{-(-run.share // fitting)} accumulated micro-batches per step; the same result"
            smaller: dict[str, object] = {"train.micro_batch_size": fitting}
            if (tokens := recipe.train.micro_batch_tokens) is not None:
                smaller = {"train.micro_batch_tokens": tokens * fitting // run.at_once}
            changes.append(Change(smaller, cost))
    recipe = with_settings(recipe, changes[0].settings) if changes else recipe
    disk = disk_bytes(run, checkpoint_bytes(recipe, model, bound))
    return recipe, changes, MemoryPlan(stages, limit, disk=disk, context=context)


def _smaller(update: Stage, line: MemoryLine, count: int) -> Stage:
    return replace(update, activations=line.at(count), at_once="1 pair" if count == 1 else f"{count} pairs")


def _further(recipe: Recipe, plan: MemoryPlan) -> Iterator[Step[Recipe]]:
    """Yields the changes that are left, cheapest first: first those that leave the result as it is."""
    too_large = {stage.name for stage in plan.stages if not plan.fits_stage(stage)}
    for is_possible, settings, cost in (
        *_same_result(recipe, too_large),
        *_other_numbers(recipe, too_large, plan.context > 0),
    ):
        if is_possible:
            yield Change(settings, cost), with_settings(recipe, settings)


Candidate = tuple[bool, dict[str, object], str]
"""Whether a change is possible, what it sets, and what it costs."""


def _same_result(recipe: Recipe, too_large: set[str]) -> list[Candidate]:
    model, train = recipe.model, recipe.train
    checkpointed = train.gradient_checkpointing or model.gradient_checkpointing
    copied = model.adapter is None and model.reference in ("auto", "copy")
    return [
        (
            "encode" in too_large and getattr(model, "encode_batch", 1) > 1,
            {"model.encode_batch": 1},
            "encoding takes a little longer; the same result",
        ),
        (
            "update" in too_large and not checkpointed and train.fast_slow is None,
            {"train.gradient_checkpointing": True},
            "activations are computed twice: steps took 1.2 to 1.3 times as long; the same result",
        ),
        (
            "update" in too_large and copied and model.may_store,
            {"model.reference": "stored"},
            "the reference's numbers are computed before training and kept on disk; the same result",
        ),
    ]


def _other_numbers(recipe: Recipe, too_large: set[str], own_memory: bool) -> list[Candidate]:
    model, train = recipe.model, recipe.train
    frozen, checkpointed = model.adapter is not None, train.gradient_checkpointing or model.gradient_checkpointing
    packs = frozen and not model.adapter.dora
    state_counts = bool(too_large - {"encode", "reference"})
    cost = (
        "the frozen linear layers are packed in {} bits and unpacked for each product; policy and reference share them"
    )
    return [
        (
            frozen and model.dtype == "float32",
            {"model.dtype": "bfloat16"},
            "the frozen weights are rounded to bf16; policy and reference share them",
        ),
        (packs and model.quantize is None, {"model.quantize": "int8"}, cost.format("8")),
        (packs and model.quantize == "int8", {"model.quantize": "nf4"}, cost.format("4.5")),
        (
            bool(frozen and own_memory and checkpointed and model.offload is None and model.reference != "copy"),
            {"model.offload": "blocks"},
            "each block's frozen weights come from host memory when it runs, so steps take longer; the same result",
        ),
        (
            state_counts and train.optimizer == "adamw" and find_spec("bitsandbytes") is not None,
            {"train.optimizer": "adamw8bit"},
            "the optimizer's state is rounded to 8 bits",
        ),
        (
            state_counts and train.optimizer in ("adamw", "adamw8bit"),
            {"train.optimizer": "adafactor"},
            "another optimizer, with far less state; published for SDXL",
        ),
    ]
