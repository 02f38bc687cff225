"""The output folder of a run, which belongs to this run only."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from diffalign.errors import RunError
from diffalign.sharing.atomic import write_atomically
from diffalign.training.recipe.loss_and_label_aliases import with_table_names
from diffalign.training.recipe.schema import Recipe
from diffalign.training.storage.checkpoint import complete_checkpoints

FREE = ("log", "previews", "evaluate", "checkpoint", "guard", "output", "data.eval", "train.micro_batch_size")
"""Settings that may differ when a run is resumed: they do not change its result, or are meant to, as the guard's."""


class RunFolder:
    """The paths of the files that a run writes."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.recipe = self.folder / "recipe.yaml"
        self.metrics = self.folder / "metrics.jsonl"
        self.checkpoints = self.folder / "checkpoints"
        self.previews = self.folder / "previews"
        self.rounds = self.folder / "rounds"
        self.result = self.folder / "result"


def check_output(output: RunFolder, recipe: Recipe, resume: bool) -> None:
    """Raises RunError when the folder holds another run, or nothing to resume. Writes nothing."""
    if not output.recipe.exists():
        if resume:
            raise RunError(f"there is no run in '{output.folder}' to resume. Start it without --resume.")
        return
    if not resume:
        done = complete_checkpoints(output.checkpoints)
        reached = f"up to step {int(done[-1].name.split('-')[1])}" if done else "without a checkpoint so far"
        raise RunError(
            f"'{output.folder}' already holds a run ({reached}). To continue it, type --resume; for a new run choose "
            f"another folder: --set output={output.folder}-2"
        )
    saved = with_table_names(yaml.safe_load(output.recipe.read_text(encoding="utf-8")))
    differences = _differences(saved, dump(recipe))
    if differences:
        raise RunError(
            f"'{output.folder}' holds a run with other settings: {'; '.join(differences)}. A resumed run continues "
            "exactly, so resume with the old values, or start a new run in another folder with --set output=FOLDER."
        )


def stored_precision(output: RunFolder) -> str | None:
    """Returns the precision of the run in the folder; None where there is no run."""
    if not output.recipe.exists():
        return None
    return str(yaml.safe_load(output.recipe.read_text(encoding="utf-8"))["train"]["mixed_precision"])


def claim_output(output: RunFolder, recipe: Recipe) -> None:
    """Reserves the folder for this run, by writing the recipe into it."""
    assert recipe.train.mixed_precision != "auto", "the stored recipe must name the precision that the run used"
    text = yaml.safe_dump(dump(recipe), sort_keys=False, allow_unicode=True)
    write_atomically(output.recipe, lambda path: path.write_text(text, encoding="utf-8"))


def dump(recipe: Recipe) -> dict[str, Any]:
    """Returns a recipe as plain values, with every default."""
    return recipe.model_dump(mode="json")


def _differences(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    before, after = flat(old), flat(new)
    differences = []
    for key in sorted({*before, *after}):
        free = any(key == name or key.startswith((name + ".", name + "_")) for name in FREE)
        # More steps continue the same run where the rate does not depend on their number, and where no window of
        # latents was cut short: the policy that would have inverted the rest of it is gone.
        cut = (before.get("train.steps") or 0) % (after.get("model.latents.refresh") or 1)
        kept = key == "train.mixed_precision" and after.get(key) == "auto"  # the run keeps its precision
        longer = key == "train.steps" and str(after.get("train.schedule")).startswith("constant") and not cut
        if not free and not longer and not kept and before.get(key) != after.get(key):
            differences.append(f"{key} was {before.get(key)!r}, now {after.get(key)!r}")
    return differences


def flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Returns nested values as ``{"train.steps": 100, ...}``."""
    rows: dict[str, Any] = {}
    for key, value in values.items():
        rows |= flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
    return rows
