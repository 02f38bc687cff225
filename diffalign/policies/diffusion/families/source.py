"""Where a denoiser's parts lie: a pipeline's folder, and for an image model that is made a video model a motion
adapter.

The folder of a motion adapter may hold parts of its own beside the adapter: ``tokenizer/``, ``text_encoder/`` and
``scheduler/``. They take the place of the pipeline's.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from diffalign.files.model_files import is_folder, read_object

Betas = Literal["own", "linear", "scaled_linear"]
"""The spacing of a schedule's betas: that of the scheduler's file, or one of two others between its first and last."""


@dataclass(frozen=True)
class ModelSource:
    """The folders of a model.

    Args:
        folder: The pipeline's folder.
        motion: The folder of a motion adapter, for an image pipeline that it makes a video pipeline.
        betas: The spacing of the betas.
    """

    folder: Path
    motion: Path | None = None
    betas: Betas = "own"

    def holder(self, part: str) -> Path:
        """Returns the folder that holds the subfolder ``part``: the motion adapter's where it has one."""
        return self.motion if self.motion is not None and is_folder(self.motion / part) else self.folder

    def config(self, part: str, name: str = "config.json") -> dict[str, Any]:
        """Returns a part's configuration."""
        return read_object(self.holder(part) / part / name)

    def index(self) -> dict[str, Any]:
        """Returns the pipeline's index, ``model_index.json``."""
        return read_object(self.folder / "model_index.json")

    def describe_betas(self) -> str:
        """Returns the spacing of the betas in words."""
        if self.betas != "own":
            return f"{self.betas} betas between the first and the last of the scheduler's file"
        owner = "the motion adapter's" if self.motion is not None and self.holder("scheduler") == self.motion else "its"
        return f"{owner} own scheduler's"
