"""Galleries: folders of samples with ``metadata.jsonl``, of ``diffalign generate`` or of an ImageFolder.

What a gallery states is not trusted: a file that it names is read only where it lies in the gallery's own folder.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from diffalign.data.storage.inside_folder import inside
from diffalign.data.suites.suite import Categories
from diffalign.errors import DataError
from diffalign.evaluation.samples.medium import MEDIA, medium_of_file
from diffalign.files.json_lines import numbered_lines, parse_json
from diffalign.files.text_files import is_file

METADATA, MADE_BY = "metadata.jsonl", "made_by.json"
_WITHOUT_MAKER = f"Delete it: a folder without {MADE_BY} counts as made by another program."


@dataclass(frozen=True)
class Sample:
    """One generated sample on disk.

    Args:
        path: Its file.
        prompt, seed: What it was made from.
        categories: Categories of its prompt in a suite, ``{column: values}``.
    """

    path: Path
    prompt: str
    seed: int
    categories: Categories = field(default_factory=dict, compare=False)


@dataclass(frozen=True)
class Gallery:
    """The samples of one model.

    Args:
        folder: Folder of the samples.
        samples: In the order of prompts, then seeds.
        made_by: Contents of ``made_by.json``: model, weights and settings; empty for folders of other programs.
        medium: Kind of samples, a name in :data:`~diffalign.evaluation.samples.medium.MEDIA`.
    """

    folder: Path
    samples: tuple[Sample, ...]
    made_by: Mapping[str, Any]
    medium: str = "image"

    def contents(self) -> list[Any]:
        """Returns what scorers take, in the order of the samples: paths of images, or the texts themselves."""
        return [MEDIA[self.medium].read(sample.path) for sample in self.samples]


def read_gallery(folder: Path) -> Gallery:
    """Reads a folder of samples with ``metadata.jsonl``: ``file_name``, ``prompt`` (or ``text``) and ``seed``.

    A row without a seed gets the number of earlier rows of its prompt, so that folders pair by position.

    Raises:
        DataError: No metadata, an unreadable line, or a file that is missing or lies outside the folder.
    """
    folder = Path(folder)
    samples: list[Sample] = []
    rows_of_prompt: dict[str, int] = {}
    for place, row in metadata_rows(folder, "file_name and prompt"):
        try:
            name, prompt = text_cell(row["file_name"]), text_cell(row["prompt"] if "prompt" in row else row["text"])
            seed = int(row.get("seed", rows_of_prompt.get(prompt, 0)))
            categories = {
                text_cell(column): tuple(map(text_cell, values))
                for column, values in (row.get("categories") or {}).items()
            }
        except (ValueError, KeyError, TypeError, OverflowError, AttributeError) as error:
            raise bad_row(place, row, "file_name and prompt") from error
        rows_of_prompt[prompt] = rows_of_prompt.get(prompt, 0) + 1
        samples.append(Sample(sample_file(folder, name, place), prompt, seed, categories))
    media = {medium_of_file(sample.path).name for sample in samples} or {"image"}
    if len(media) > 1:
        raise DataError(
            f"{folder / METADATA} names files of several media ({', '.join(sorted(media))}). Put each medium into its "
            "own folder."
        )
    return Gallery(folder, tuple(samples), read_made_by(folder), media.pop())


def metadata_rows(folder: Path, expected: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yields the rows of ``metadata.jsonl``, each with its place for messages.

    Args:
        folder: The gallery.
        expected: The columns that a row should have, for messages.

    Raises:
        DataError: There is no such file, or a line is no object.
    """
    path = folder / METADATA
    if not is_file(path):
        raise DataError(
            f"{folder} has no {METADATA}. Expected one JSON object per line with file_name, prompt and seed, in the "
            "folder of the samples. `diffalign generate` writes it."
        )
    for number, line in numbered_lines(path):
        place = f"{path}, line {number}"
        try:
            row = parse_json(line)
        except ValueError as error:
            raise DataError(
                f"{place}: not JSON ({getattr(error, 'msg', error)}): {line[:80]!r}. Each line is one object; if the "
                "file was cut short, copy or write it again, otherwise correct the line."
            ) from error
        if not isinstance(row, dict):
            raise bad_row(place, line, expected)
        yield place, row


def bad_row(place: str, row: Any, expected: str) -> DataError:
    """Returns the error of a row that lacks ``expected``."""
    text = row if isinstance(row, str) else str(row)
    return DataError(f"{place}: expected an object with {expected}, got {text[:80]!r}. Correct the line.")


def read_made_by(folder: Path) -> dict[str, Any]:
    """Returns the contents of ``made_by.json``, empty without it. Raises DataError where it holds no object."""
    path = folder / MADE_BY
    if not is_file(path):
        return {}
    try:
        made_by = parse_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read: {error}. {_WITHOUT_MAKER}") from error
    if not isinstance(made_by, dict):
        raise DataError(f"{path} must hold an object. {_WITHOUT_MAKER}")
    return made_by


def text_cell(cell: Any) -> str:
    """Returns a text or a number as text. Raises TypeError for anything else."""
    if isinstance(cell, (str, int, float)):
        return str(cell)
    raise TypeError(f"expected a text, got {type(cell).__name__}")


def sample_file(folder: Path, name: str, place: str, *, must_exist: bool = True) -> Path:
    """Returns the file that a row names. Raises DataError unless it lies in the folder, and exists where it must."""
    if inside(folder, name) is None:
        raise DataError(f"{place}: the file {name!r} lies outside the folder and is not read. Copy it into the folder.")
    if must_exist and not is_file(folder / name):
        raise DataError(f"{place}: the file {name} is missing. Put it back, or remove the line.")
    return folder / name
