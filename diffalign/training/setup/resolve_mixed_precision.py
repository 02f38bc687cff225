"""The precision of a run: chooses the value for ``mixed_precision: auto``, once for all processes and resumes."""

from __future__ import annotations

from dataclasses import dataclass

from diffalign.devices.bf16_support import Bf16, try_bf16
from diffalign.training.recipe.schema import Recipe
from diffalign.training.storage.run_folder import RunFolder
from diffalign.training.storage.stored_recipe import stored_precision

NAMES = {"no": "float32", "bf16": "bf16", "fp16": "fp16"}
"""Names of the recipe's values in headers and cards."""


@dataclass(frozen=True)
class Precision:
    """The lines about precision in a run's header.

    Args:
        summary: Its name, and the reason where the recipe names ``auto``.
        warning: Not empty where it is much slower than another precision.
    """

    summary: str
    warning: str = ""


def settle_precision(recipe: Recipe, output: RunFolder) -> tuple[Recipe, Precision]:
    """Replaces ``mixed_precision: auto`` in a recipe.

    A resumed run keeps the precision that it began with, on any machine. A new one takes bf16 where it is faster on the
    devices of all its processes. Weights in float16 compute in float16, so nothing is mixed.

    Args:
        recipe: The recipe of the run.
        output: Its folder.

    Returns:
        The recipe with its precision, and the lines for the header.
    """
    precision: str = recipe.train.mixed_precision
    if precision in ("no", "fp16"):
        return recipe, Precision(NAMES[precision])
    stored = stored_precision(output.recipe)
    found = _everywhere()
    summary = NAMES[precision] if precision == "bf16" else ""
    if precision == "auto":
        if stored is not None:
            precision, why = stored, "as the run began"
        elif getattr(recipe.model, "dtype", "float32") == "float16":
            precision, why = "no", "auto: the weights are float16"
        else:
            precision, why = "bf16" if found.pays else "no", f"auto: {found.reason}"
        summary = f"{NAMES[precision]} ({why})"
        recipe = recipe.model_copy(update={"train": recipe.train.model_copy(update={"mixed_precision": precision})})
    return recipe, Precision(summary, _warning(found) if precision == "bf16" else "")


def _everywhere() -> Bf16:
    """Returns the least favourable trial among all processes, so that they agree."""
    from accelerate import PartialState
    from accelerate.utils import gather_object, parse_flag_from_env

    state = PartialState(cpu=parse_flag_from_env("ACCELERATE_USE_CPU"))  # as an Accelerator makes it
    findings: list[Bf16] = gather_object([try_bf16(state.device)])
    return min(findings, key=lambda found: (found.pays, -(found.factor or 0.0)))


def _warning(found: Bf16) -> str:
    if found.pays or found.factor is None or found.factor <= 1:
        return ""
    return f"{found.reason}. A new run may leave the choice open: --set train.mixed_precision=auto"
