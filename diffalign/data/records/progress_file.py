"""Notes: what a long pass over a data set found of each example so far, in a file that a killed command goes on from.

The file is ``FILE.part`` beside what will be written in the end. Its first line says what the notes are about; notes
about something else are begun anew.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from diffalign.data.records.pair import Pair
from diffalign.sharing.atomic import write_atomically

Progress = Callable[[str, int, int], None]


class ProgressFile:
    """Rows by example id.

    Args:
        target: The file that will be written in the end; None keeps notes in memory alone.
        about: What decides the rows: model, weights, settings.
    """

    def __init__(self, target: Path | None, about: Mapping[str, Any]) -> None:
        self.rows: dict[str, dict[str, Any]] = {}
        self._path = target.with_name(target.name + ".part") if target is not None else None
        self._about = json.loads(json.dumps(dict(about), default=str))
        if self._path is not None and self._path.is_file():
            self._read(self._path)

    def missing(self, pairs: Sequence[Pair], size: int) -> Iterator[list[Pair]]:
        """The pairs without a row, ``size`` at a time."""
        rest = [place for place, pair in enumerate(pairs) if pair.id not in self.rows]
        for start in range(0, len(rest), size):
            yield [pairs[place] for place in rest[start : start + size]]

    def add(self, rows: Mapping[str, Mapping[str, Any]]) -> None:
        """Keeps rows, on disk before this returns."""
        begun = bool(self.rows)
        self.rows.update({name: dict(row) for name, row in rows.items()})
        if self._path is None:
            return
        if not begun or not self._path.is_file():
            self._write(self._path)
            return
        with self._path.open("a", encoding="utf-8") as file:
            file.writelines(_line(name, row) for name, row in rows.items())

    def fill(
        self,
        pairs: Sequence[Pair],
        find: Callable[[list[Pair]], Mapping[str, Mapping[str, Any]]],
        *,
        what: str,
        batch: int,
        progress: Progress | None = None,
    ) -> dict[str, dict[str, Any]]:
        """Asks ``find`` about the pairs without a row, batch by batch, and returns the rows of all of them."""
        for part in self.missing(pairs, batch):
            self.add(find(part))
            if progress is not None:
                progress(what, len(self.rows), len(pairs))
        return {pair.id: self.rows[pair.id] for pair in pairs}

    def done(self) -> None:
        """Removes the file: what it held is written elsewhere."""
        if self._path is not None:
            self._path.unlink(missing_ok=True)

    def _write(self, path: Path) -> None:
        text = json.dumps(self._about) + "\n" + "".join(_line(name, row) for name, row in self.rows.items())
        write_atomically(path, lambda beside: beside.write_text(text, encoding="utf-8"))

    def _read(self, path: Path) -> None:
        """Rows of earlier calls; a last line that was cut off is left out, and the file is written anew without it."""
        lines = path.read_text(encoding="utf-8", errors="replace").split("\n")
        try:
            if json.loads(lines[0]) != self._about:
                return
            for line in filter(None, lines[1:]):
                name, row = json.loads(line)
                self.rows[str(name)] = dict(row)
        except (ValueError, TypeError):
            pass
        if self.rows:
            self._write(path)


def _line(name: str, row: Mapping[str, Any]) -> str:
    return json.dumps([name, dict(row)], ensure_ascii=False) + "\n"
