"""Sources of single samples: a folder with ``metadata.jsonl``, a bare folder of files, or a table.

Rows are read again for each pass and never kept, so a source of a million samples needs the memory of one.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from diffalign.data.media.decode import media_bytes
from diffalign.data.readers.detect_format import detect_format
from diffalign.data.readers.file_names import MEDIA_SUFFIXES
from diffalign.data.readers.rows.parse_row import Drop, existing_file, only_text
from diffalign.data.readers.rows.text_cells import read_text
from diffalign.data.readers.sources import Columns, open_tables
from diffalign.data.readers.tables import Table
from diffalign.data.records.conversation import Conversation, Text
from diffalign.data.records.pair import Media
from diffalign.data.storage.lazy_table_cell import TableCell
from diffalign.errors import DataError, UserError
from diffalign.evaluation.samples.gallery import METADATA, bad_row, metadata_rows, sample_file, text_cell
from diffalign.evaluation.samples.medium import medium_of_candidate, medium_of_file
from diffalign.evaluation.scoring.example import Example
from diffalign.files.text_files import is_file

FILES = ("file_name", "image", "video", "clip", "path", "image_path")
TEXTS = ("completion", "response", "answer", "text")
PROMPTS = ("prompt", "caption", "text")
VOTES = {"rejected_file_name", "rejected", "label"}
_TEXT = ".txt"


@dataclass(frozen=True)
class Samples:
    """Single samples.

    Args:
        source: The folder or file, for messages and default paths.
        medium: Medium of the samples.
        rows: Yields them from the beginning.
        metadata: The ``metadata.jsonl`` that gets the scores too; None without one.
    """

    source: Path
    medium: str
    rows: Callable[[], Iterator[Example]]
    metadata: Path | None = None

    def __iter__(self) -> Iterator[Example]:
        return self.rows()

    def __len__(self) -> int:
        return self._count

    @cached_property
    def _count(self) -> int:
        return sum(1 for _ in self.rows())


def open_samples(
    source: str | Path, prompts: Sequence[str] = (), *, split: str = "train", columns: Columns | None = None
) -> Samples | None:
    """Returns the single samples of a source; None where it holds pairs, or is for a reader of pairs to judge.

    Args:
        source: A folder or a table file.
        prompts: For a folder without ``metadata.jsonl``: one prompt for all files, or one for each in the order of
            their names.
        split: The split of a folder of tables.
        columns: Names of columns, as in :func:`~diffalign.data.readers.read_pairs`.

    Raises:
        DataError: Rows that cannot be read, files of several media, or a number of prompts that does not fit.
    """
    path = Path(source).expanduser()
    if is_sample_folder(path):
        return metadata_samples(path)
    if path.is_dir() and not _has_metadata(path) and (names := _media_names(path)):
        return _bare_folder(path, names, prompts)
    if prompts:
        raise UserError(
            f"'{source}' has the prompts of its samples itself. --prompt is for a folder of files without a table, or "
            "for --model."
        )
    if path.is_dir() or path.is_file():
        tables = open_tables(path, split=split, columns=columns)
        if content := _content_column(tables):
            return _table_samples(path, tables, content)
    return None


def is_sample_folder(source: str | Path) -> bool:
    """Checks whether ``source`` is a folder of single samples and not of pairs: its ``metadata.jsonl`` has
    ``file_name`` or ``completion``, and no vote.
    """
    path = Path(source).expanduser() / METADATA
    columns = set(Table(path).columns) if path.is_file() else set()
    return bool({"file_name", "completion"} & columns) and not VOTES & columns


def metadata_samples(folder: Path) -> Samples:
    """Returns the samples of a folder with ``metadata.jsonl``: files, or texts in the rows themselves.

    Raises:
        DataError: No metadata, or no row in it.
    """
    path = folder / METADATA
    has_files = not path.is_file() or "file_name" in Table(path).columns
    if not has_files:
        return Samples(folder, "text", lambda: _text_rows(folder), path)
    files = (example.sides[0][1] for example in _file_rows(folder))
    first = next((file for file in files if isinstance(file, Path) and is_file(file)), None)
    medium = medium_of_file(first).name if first is not None else "image"
    return Samples(folder, medium, lambda: _file_rows(folder), path)


def _file_rows(folder: Path) -> Iterator[Example]:
    expected = "file_name and prompt"
    for place, row in metadata_rows(folder, expected):
        try:
            name = text_cell(row["file_name"])
            prompt = next((text_cell(row[column]) for column in PROMPTS if column in row), None)
        except (KeyError, TypeError) as error:
            raise bad_row(place, row, expected) from error
        yield _example(name, prompt, sample_file(folder, name, place, must_exist=False))


def _text_rows(folder: Path) -> Iterator[Example]:
    expected = "prompt and completion"
    for place, row in metadata_rows(folder, expected):
        try:
            prompt = _turns_or_text(row["prompt"]) if "prompt" in row else None
            yield _example(Path(place).name.replace(", line ", ":"), prompt, _turns_or_text(row["completion"]))
        except (KeyError, TypeError) as error:
            raise bad_row(place, row, expected) from error


def _turns_or_text(cell: Any) -> Text:
    if isinstance(cell, list):
        return Conversation.of(cell)
    if not isinstance(cell, str):
        raise TypeError(f"expected a text or its turns, got {type(cell).__name__}")
    return cell


def _has_metadata(folder: Path) -> bool:
    return any(True for pattern in ("metadata.*", "*/metadata.*") for _ in folder.glob(pattern))


def _media_names(folder: Path) -> list[str]:
    """Returns the names of a folder's images and clips, otherwise of its texts, in their order; hidden ones are left
    out.
    """
    names = sorted(entry.name for entry in os.scandir(folder) if entry.is_file() and not entry.name.startswith("."))
    media = [name for name in names if Path(name).suffix.lower() in MEDIA_SUFFIXES]
    return media or [name for name in names if Path(name).suffix.lower() == _TEXT]


def _bare_folder(folder: Path, names: Sequence[str], prompts: Sequence[str]) -> Samples:
    if len(prompts) not in (0, 1, len(names)):
        raise UserError(
            f"{folder} holds {len(names):,} files, and there are {len(prompts):,} prompts. Give one prompt for all of "
            "them, or one for each, in the order of the files' names."
        )
    is_text = Path(names[0]).suffix.lower() == _TEXT

    def rows() -> Iterator[Example]:
        for number, name in enumerate(names):
            given = prompts[number if len(prompts) > 1 else 0] if prompts else None
            yield _example(name, given if given is not None or is_text else _caption(folder / name), folder / name)

    return Samples(folder, "text" if is_text else medium_of_file(folder / names[0]).name, rows)


def _caption(file: Path) -> str | None:
    """Returns the text of the file with the same name and the ending ``.txt``; None without one."""
    path = file.with_suffix(_TEXT)
    return media_bytes(path).decode("utf-8", "replace").strip() if path.is_file() else None


def _content_column(tables: Sequence[Table]) -> str | None:
    """Returns the column of the samples; None where the table holds pairs."""
    columns = tables[0].columns
    content = next((name for name in (*FILES, *TEXTS) if name in columns), None)
    if content is None:
        return None
    try:
        return content if detect_format(tables) in ("captioned", "unpaired") else None
    except DataError:  # no format, or an ambiguous one
        sides = ("chosen", "rejected", "_0", "_1", "_a", "_b")
        is_pair = any(name.startswith(sides[:2]) or name.endswith(sides) for name in columns)
        return None if is_pair or "completions" in columns else content


def _table_samples(source: Path, tables: Sequence[Table], content: str) -> Samples:
    columns = tables[0].columns
    prompt = next((name for name in PROMPTS if name in columns and name != content), None)

    def rows() -> Iterator[Example]:
        for table in tables:
            for row in table.rows():
                try:
                    if row.problem:
                        raise Drop("unreadable row", row.problem)
                    text = None if prompt is None else read_text(row.values.get(prompt), prompt)
                    yield _example(row.source, text, _media(row.values.get(content), content, table))
                except Drop as drop:
                    reason = f"{drop.reason}: {drop.detail}" if drop.detail else drop.reason
                    yield Example(row.source, row.source, (), problem=f"{row.source}: {reason}")

    first = next((example for example in rows() if example.sides), None)
    if first is None:
        raise DataError(f"'{source}' has no row whose column '{content}' holds a sample, so there is nothing to score.")
    return Samples(source, medium_of_candidate(first.sides[0][1]).name, rows)


def _media(cell: Any, column: str, table: Table) -> Media:
    if column in TEXTS:
        return read_text(cell, column)
    if isinstance(cell, dict):
        cell = cell.get("bytes") or cell.get("path")
    if isinstance(cell, (TableCell, bytes)):
        return cell
    name = only_text(cell, column)
    if not name:
        raise Drop("no sample", f"{column} is empty")
    return existing_file(table.folder, name)


def _example(name: str, prompt: Text | None, media: Media) -> Example:
    """Returns an example whose id changes with its prompt, its name and, by size and time, its file."""
    stamp = ""
    if isinstance(media, Path):
        try:
            facts = os.stat(media)
            stamp = f"{facts.st_size} {facts.st_mtime_ns}"
        except (OSError, ValueError):
            stamp = "missing"
    content = media_bytes(media) if isinstance(media, (str, Conversation, bytes)) else str(media).encode()
    digest = hashlib.blake2b(digest_size=12)
    for part in (name.encode("utf-8", "surrogatepass"), media_bytes(prompt or ""), content, stamp.encode()):
        digest.update(len(part).to_bytes(8, "big") + part)
    return Example(digest.hexdigest(), name, ((prompt or "", media),), has_prompt=prompt is not None)
