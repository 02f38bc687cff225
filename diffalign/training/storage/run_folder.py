"""The output folder of a run. It belongs to one run, which a marker with the run's id states.

Only what a run wrote is ever changed or removed: a folder without a marker is not a run's, and none begins where it
would overwrite files of others.
"""

from __future__ import annotations

import uuid
from pathlib import Path

import yaml

from diffalign import __version__
from diffalign.errors import ConfigError
from diffalign.files.atomic import write_atomically
from diffalign.files.json_lines import json_line
from diffalign.files.model_files import read_object
from diffalign.training.recipe.schema import Recipe
from diffalign.training.storage.checkpoint_folder import complete_checkpoints, read_state, step_of
from diffalign.training.storage.stored_recipe import dump


class RunFolder:
    """The paths of the files that a run writes."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.marker = self.folder / "run.json"
        self.recipe = self.folder / "recipe.yaml"
        self.metrics = self.folder / "metrics.jsonl"
        self.checkpoints = self.folder / "checkpoints"
        self.previews = self.folder / "previews"
        self.rounds = self.folder / "rounds"
        self.result = self.folder / "result"

    @property
    def is_claimed(self) -> bool:
        """Whether a run has begun here; those of earlier versions left no marker."""
        begun = self.marker.is_file() or self.metrics.is_file() or self.checkpoints.is_dir()
        return self.recipe.is_file() and begun

    def run_id(self) -> str:
        """Returns the id of the folder's run, from its marker or its last checkpoint; "" where neither states one."""
        try:
            run = read_object(self.marker)["run"]
        except (ConfigError, KeyError):
            last = complete_checkpoints(self.checkpoints)[-1:]
            run = (read_state(last[0]) or {}).get("run") if last else ""
        return run if isinstance(run, str) else ""

    def own_checkpoints(self) -> list[Path]:
        """Returns the complete checkpoints of the folder's run, oldest first."""
        return complete_checkpoints(self.checkpoints, self.run_id())

    def damaged_checkpoints(self, since: int) -> list[Path]:
        """Returns the folders of later steps than ``since`` that are no complete checkpoints."""
        paths = sorted(self.checkpoints.glob("step-*")) if self.checkpoints.is_dir() else []
        return [path for path in paths if (step_of(path) or 0) > since and read_state(path) is None]

    def foreign_files(self) -> list[str]:
        """Returns the names of files that a run would overwrite, where none has begun here.

        Without its recipe a run is not known, so its files are foreign as well; a marker may have been copied.
        """
        names = [path.name for path in (self.metrics, self.checkpoints, self.previews, self.rounds, self.result)]
        names += [self.recipe.name, "evaluation", "report.html", "before_after.png", "drift.jsonl"]
        return [] if self.is_claimed else [name for name in names if (self.folder / name).exists()]


def last_step(output: RunFolder) -> int:
    """Returns the step of the last complete checkpoint, from which a resume goes on; 0 where there is none."""
    done = output.own_checkpoints()
    return step_of(done[-1]) or 0 if done else 0


def claim_output(output: RunFolder, recipe: Recipe) -> None:
    """Reserves the folder for this run: writes its marker, unless there is one, and its recipe."""
    assert recipe.train.mixed_precision != "auto", "the stored recipe must name the precision that the run used"
    marker = {"run": output.run_id() or uuid.uuid4().hex, "made_by": f"diffalign {__version__}"}
    write_atomically(output.marker, lambda path: path.write_text(json_line(marker), encoding="utf-8"))
    text = yaml.safe_dump(dump(recipe), sort_keys=False, allow_unicode=True)
    write_atomically(output.recipe, lambda path: path.write_text(text, encoding="utf-8"))
