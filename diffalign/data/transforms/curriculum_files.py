"""Writes and reads the stages of a curriculum: one file per stage, and ``curriculum.yaml`` with their order."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diffalign.data.storage.inside_folder import inside
from diffalign.data.transforms.curriculum import Curriculum
from diffalign.data.writing.jsonl import write_pairs
from diffalign.errors import DataError, UserError, near_miss
from diffalign.files.atomic import write_atomically
from diffalign.files.text_files import is_file, read_text_file
from diffalign.files.yaml_text import read_yaml
from diffalign.printable import shown

INDEX = "curriculum.yaml"
STAGE = re.compile(r"stage-\d+\.jsonl")
REFERENCES = ("previous_stage", "fixed")
_HEAD = """# Stages of `diffalign data curriculum`, trained one after the other:
#   python -m pipelines.curriculum RECIPE --stages {folder}
# reference: previous_stage is the model at the beginning of each stage, fixed the model before all stages.
"""


@dataclass(frozen=True)
class StageFiles:
    """The stages of a curriculum on disk.

    Args:
        files: The tables, in order.
        pairs: Number of pairs in each.
        reference: ``"previous_stage"`` or ``"fixed"``.
    """

    files: tuple[Path, ...]
    pairs: tuple[int, ...]
    reference: str = "previous_stage"

    def steps(self, batch_size: int, epochs: float = 1.0) -> list[int]:
        """Returns the optimizer steps of each stage, in which each pair is trained on ``epochs`` times."""
        return [max(1, math.ceil(epochs * count / batch_size)) for count in self.pairs]


def write_stages(folder: str | Path, curriculum: Curriculum, reference: str = "previous_stage") -> StageFiles:
    """Writes ``stage-1.jsonl``, ... and :data:`INDEX`, and removes further stages that an earlier :data:`INDEX` names.

    Raises:
        UserError: ``reference`` is unknown.
    """
    import yaml

    check_reference(reference)
    folder = Path(folder).expanduser()
    earlier = _earlier_stages(folder)
    files = [folder / f"stage-{number}.jsonl" for number in range(1, len(curriculum.stages) + 1)]
    pairs = [write_pairs(file, stage) for file, stage in zip(files, curriculum.stages, strict=True)]
    for file in set(earlier) - set(files):
        file.unlink(missing_ok=True)
    rows = [{"file": file.name, "pairs": count} for file, count in zip(files, pairs, strict=True)]
    text = _HEAD.format(folder=folder.name) + yaml.safe_dump({"reference": reference, "stages": rows}, sort_keys=False)
    write_atomically(folder / INDEX, lambda temporary: temporary.write_text(text, encoding="utf-8"))
    return StageFiles(tuple(files), tuple(pairs), reference)


def read_stages(folder: str | Path) -> StageFiles:
    """Reads :data:`INDEX`. Raises DataError where it, or a stage that it names, is missing."""
    path = Path(folder).expanduser() / INDEX
    if not path.is_file():
        raise DataError(
            f"there is no {INDEX} in '{folder}'. Make it: diffalign data curriculum SOURCE --key NAME --output FOLDER"
        )
    values: Any = read_yaml(read_text_file(path, "curriculum", error=DataError), str(path), DataError)
    try:
        rows: list[Mapping[str, Any]] = list(values["stages"])
        stages = StageFiles(
            tuple(path.parent / str(row["file"]) for row in rows),
            tuple(int(row["pairs"]) for row in rows),
            str(values.get("reference", "previous_stage")),
        )
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise DataError(
            f"{path} does not list stages, each with its file and its number of pairs: {shown(error)}."
        ) from error
    check_reference(stages.reference)
    for file in stages.files:
        if inside(path.parent, os.path.relpath(file, path.parent)) is None:
            raise DataError(f"{path} names '{file}', which lies outside its folder and is not read.")
        if not is_file(file):
            raise DataError(f"{path} names '{file.name}', which does not exist. Make the stages again.")
    return stages


def _earlier_stages(folder: Path) -> list[Path]:
    """Returns the files of an earlier call, none where its index is missing or damaged."""
    try:
        stages = read_stages(folder)
    except UserError:
        return []
    return [file for file in stages.files if STAGE.fullmatch(file.name) and file.parent == folder]


def check_reference(reference: str) -> None:
    """Raises UserError unless ``reference`` is one of :data:`REFERENCES`."""
    if reference not in REFERENCES:
        raise UserError(
            f"reference is one of {', '.join(REFERENCES)}; got '{reference}'.{near_miss(reference, REFERENCES)}"
        )
