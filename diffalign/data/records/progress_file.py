"""The progress file of a long pass over a data set, from which a killed command resumes.

The file is ``FILE.part`` next to the final output. Its first line holds everything that determines the rows; a file
with other values there is ignored and overwritten, and one whose first line is no such line is of others and is kept.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol, TypeVar

from diffalign.errors import RunError
from diffalign.files.atomic import write_atomically
from diffalign.files.json_lines import intact_values, json_line

LONGEST_HEAD = 2**20
"""Characters of the first line that are read."""

Progress = Callable[[str, int, int], None]


class HasId(Protocol):
    """An example with a name of its own, such as a pair."""

    @property
    def id(self) -> str:
        """Its name within the data set."""


Example = TypeVar("Example", bound=HasId)


class ProgressFile:
    """Computed rows by example id.

    Args:
        target: The final output file; None keeps the rows in memory only.
        made_by: What determines the rows: model, weights, settings.

    Raises:
        RunError: There is a file of this name that no such pass wrote.
    """

    def __init__(self, target: Path | None, made_by: Mapping[str, Any]) -> None:
        self.rows: dict[str, dict[str, Any]] = {}
        self._path = target.with_name(target.name + ".part") if target is not None else None
        self._made_by = json.loads(json.dumps(dict(made_by), default=str))
        if self._path is not None and self._path.is_file():
            check_is_progress(self._path, self._made_by)
            self._read(self._path)

    def missing(self, examples: Sequence[Example], size: int) -> Iterator[list[Example]]:
        """Yields the examples without a row, ``size`` at a time."""
        indices = [index for index, example in enumerate(examples) if example.id not in self.rows]
        for start in range(0, len(indices), size):
            yield [examples[index] for index in indices[start : start + size]]

    def add(self, rows: Mapping[str, Mapping[str, Any]]) -> None:
        """Adds rows; they are in the file when this returns."""
        has_rows = bool(self.rows)
        self.rows.update({name: dict(row) for name, row in rows.items()})
        if self._path is None:
            return
        if not has_rows or not self._path.is_file():
            self._write(self._path)
            return
        with self._path.open("a", encoding="utf-8") as file:
            file.writelines(_line(name, row) for name, row in rows.items())

    def fill(
        self,
        examples: Sequence[Example],
        compute: Callable[[list[Example]], Mapping[str, Mapping[str, Any]]],
        *,
        what: str,
        batch: int,
        progress: Progress | None = None,
    ) -> dict[str, dict[str, Any]]:
        """Calls ``compute`` on the examples without a row, batch by batch, and returns the rows of all."""
        for part in self.missing(examples, batch):
            self.add(compute(part))
            if progress is not None:
                progress(what, len(self.rows), len(examples))
        return {example.id: self.rows[example.id] for example in examples}

    def remove(self) -> None:
        """Removes the file, once the final output is written."""
        if self._path is not None:
            self._path.unlink(missing_ok=True)

    def _write(self, path: Path) -> None:
        text = json_line(self._made_by) + "".join(_line(name, row) for name, row in self.rows.items())
        write_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))

    def _read(self, path: Path) -> None:
        """Reads the rows of earlier calls. A truncated last line is ignored, and the file is rewritten without it."""
        values = intact_values(path)
        if next(values, None) != self._made_by:
            return
        for value in values:
            with suppress(ValueError, TypeError):
                name, row = value
                self.rows[str(name)] = dict(row)
        if self.rows:
            self._write(path)


def check_is_progress(path: Path, made_by: Mapping[str, Any]) -> None:
    """Raises RunError for a file that is no progress of a pass like this one: it would be overwritten and removed."""
    with path.open(encoding="utf-8", errors="replace") as file:
        first = file.readline(LONGEST_HEAD)
    try:
        known = not first.strip() or set(json.loads(first)) == set(made_by)
    except (ValueError, TypeError, RecursionError):
        known = False
    if not known:
        raise RunError(
            f"{path} is in the way: it would hold the progress of this command, but another program wrote it. Rename "
            "it, or give another output."
        )


def _line(name: str, row: Mapping[str, Any]) -> str:
    return json_line([name, dict(row)])
