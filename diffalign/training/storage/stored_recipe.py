"""The recipe in a run's folder: how it is written, read back within bounds, and compared with that of a resume."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from diffalign.errors import RunError
from diffalign.files.text_files import read_text_file
from diffalign.files.yaml_text import read_yaml
from diffalign.printable import one_line, shown
from diffalign.training.recipe.loss_and_label_aliases import with_table_names
from diffalign.training.recipe.schema import Recipe

FREE: tuple[str, ...] = ("log", "previews", "evaluate", "checkpoint", "guard", "output", "data.eval")
FREE += ("train.micro_batch_size", "train.micro_batch_tokens", "pairs.batch", "model.encode_batch", "model.offload")
"""Settings that may differ when a run is resumed: they do not change its result, or are meant to, as the guard's."""

SHOWN = 8
"""Differences that a message lists."""


def dump(recipe: Recipe) -> dict[str, Any]:
    """Returns a recipe as plain values, with every default."""
    return recipe.model_dump(mode="json")


def read_stored_recipe(path: Path) -> dict[str, Any]:
    """Returns the nested values of a stored recipe. Raises RunError where it is damaged."""
    try:
        values = read_yaml(read_text_file(path, "recipe", error=RunError), "it", RunError)
    except RunError as error:
        raise _damaged(path, str(error).rstrip(".")) from None
    train = values.get("train") if isinstance(values, dict) else None
    if not isinstance(train, dict) or train.get("mixed_precision") not in ("no", "bf16", "fp16"):
        raise _damaged(path, "it lacks train.mixed_precision, which every stored recipe has")
    return with_table_names(values)


def stored_precision(path: Path) -> str | None:
    """Returns the precision in a stored recipe; None where there is none."""
    return str(read_stored_recipe(path)["train"]["mixed_precision"]) if path.exists() else None


def differences(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """Returns the settings in which a resume differs from its run, as sentences; free ones are left out."""
    before, after = flat(old), flat(new)
    found = []
    for key in sorted({*before, *after}):
        free = any(key == name or key.startswith((name + ".", name + "_")) for name in FREE)
        kept = key == "train.mixed_precision" and after.get(key) == "auto"  # the run keeps its precision
        longer = key == "train.steps" and _may_be_longer(before, after)
        if not free and not longer and not kept and before.get(key) != after.get(key):
            found.append(f"{one_line(key, 80)} was {shown(before.get(key))}, now {shown(after.get(key))}")
    more = [f"and {len(found) - SHOWN} more"] if len(found) > SHOWN else []
    return [*found[:SHOWN], *more]


def flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Returns nested values as ``{"train.steps": 100, ...}``."""
    rows: dict[str, Any] = {}
    for key, value in values.items():
        rows |= flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return rows


def _may_be_longer(before: dict[str, Any], after: dict[str, Any]) -> bool:
    """Returns whether another number of steps continues the same run.

    It does where the rate does not depend on the number, and where no window of latents was cut short: the policy that
    would have inverted the rest of it is gone.
    """
    steps = before.get("train.steps")
    if not isinstance(steps, int):
        return False
    return str(after.get("train.schedule")).startswith("constant") and not steps % (
        after.get("model.latents.refresh") or 1
    )


def _damaged(path: Path, why: str) -> RunError:
    return RunError(
        f"{path} is damaged ({why}), so the run cannot be resumed safely. Put the file back as it was, or start a new "
        "run in another folder: --set output=FOLDER"
    )
