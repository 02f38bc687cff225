"""The scores of one scorer while they are computed: a line in ``FILE.part`` for each example, and numbers in memory.

    {"scorer": "pickscore", "unit": "logit", "weights": "9c1f...", "preprocessing": "224 shortest bicubic, ..."}
    {"id": "a1", "chosen": 22.25, "rejected": 20.125}
    {"id": "b7", "error": "'b7.png' cannot be decoded: ..."}

A killed call resumes from these lines; those of other weights are ignored, and lines with an error are tried again.
Several processes write a file each (``FILE.part``, ``FILE.part-1``, ...) and read those of all. In memory an example
takes eight bytes a number.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from diffalign.data.records.progress_file import check_is_progress
from diffalign.data.records.score_table import parse_score_row
from diffalign.errors import DataError
from diffalign.evaluation.scoring.decode_once import Problem
from diffalign.evaluation.scoring.example import Examples, Side
from diffalign.files.atomic import write_atomically
from diffalign.files.json_lines import intact_values, json_line
from diffalign.scorers.scorer import Scorer

CACHE_SIZE = 4096
"""Number of scores kept from batch to batch, because samples of one prompt often occur in several pairs."""


class ScoreLog:
    """The scores of one scorer.

    Args:
        scorer: The scorer.
        spec: Its name as ``--scorer`` gives it.
        path: The file that will hold the scores; ``FILE.part`` beside it holds them until then.
        roles: Names of an example's numbers.
        count: Number of examples.
        rank: Number of this process.

    Raises:
        RunError: There is a file of this name that no such pass wrote.
    """

    def __init__(self, scorer: Scorer, spec: str, path: Path, roles: Sequence[str], count: int, rank: int = 0) -> None:
        self.scorer, self.spec, self.roles = scorer, spec, tuple(roles)
        self.head = {"scorer": spec, **identity(scorer)}
        self.values = np.full((count, len(self.roles)), math.nan)
        self.problems: dict[int, str] = {}
        self._cache: dict[Side, float | Problem] = {}
        self._path, self._rank, self._begun = path, rank, False

    def read(self, examples: Examples, more: Mapping[str, Sequence[float]] | None = None) -> None:
        """Takes over the scores of earlier calls and of other processes, and ``more`` scores by id."""
        rows: dict[str, Sequence[float] | Problem] = dict(more or {})
        for path in self._parts():
            for name, row in self._read_part(path).items():
                if not isinstance(row, Problem) or isinstance(rows.get(name, row), Problem):
                    rows[name] = row
        if not rows:
            return
        for number, example in enumerate(examples):
            known = rows.get(example.id)
            if isinstance(known, Problem):
                self.problems[number] = known
            elif known is not None:
                self.values[number] = known
                self.problems.pop(number, None)

    def missing(self) -> np.ndarray:
        """Returns the numbers of the examples without scores."""
        return np.flatnonzero(np.isnan(self.values).any(axis=1))

    def is_missing(self, number: int) -> bool:
        """Returns whether an example has no scores yet."""
        return bool(np.isnan(self.values[number]).any())

    def unknown(self, sides: Sequence[Side]) -> list[Side]:
        """Returns the sides whose scores are not known from a batch before; forgets those where there are too many."""
        if len(self._cache) > CACHE_SIZE:
            self._cache.clear()
        return [side for side in dict.fromkeys(sides) if side not in self._cache]

    def score(self, contents: Mapping[Side, Any]) -> None:
        """Scores decoded samples, and keeps the scores until :meth:`add`."""
        sound = {side: content for side, content in contents.items() if not isinstance(content, Problem)}
        scores = self._score([prompt for prompt, _ in sound], list(sound.values()))
        self._cache.update(zip(sound, scores, strict=True))
        self._cache.update({side: content for side, content in contents.items() if isinstance(content, Problem)})

    def _score(self, prompts: Sequence[Any], contents: Sequence[Any]) -> list[float | Problem]:
        """Returns a score for each sample, or why there is none: a bad one does not stop the others."""
        if not contents:
            return []
        try:
            values = self.scorer.score(prompts, contents).tolist()
        except DataError as error:
            if len(contents) == 1:
                return [Problem(str(error))]
            pairs = zip(prompts, contents, strict=True)
            return [score for prompt, content in pairs for score in self._score([prompt], [content])]
        return [
            value if math.isfinite(value) else Problem(f"{self.scorer.name} gave the score {value}") for value in values
        ]

    def add(self, rows: Sequence[tuple[int, str, Sequence[Side], str]]) -> None:
        """Adds the rows of examples whose sides are scored; they are in the file when this returns.

        Args:
            rows: For each example its number, its id, its sides, and why it cannot be scored (empty: it can).
        """
        lines = []
        for number, name, sides, problem in rows:
            scores = [Problem(problem)] if problem else [self._cache[side] for side in sides]
            wrong = next((score for score in scores if isinstance(score, Problem)), None)
            if wrong is None:
                self.values[number] = scores
                self.problems.pop(number, None)
                lines.append(json_line({"id": name, **dict(zip(self.roles, scores, strict=True))}))
            else:
                self.problems[number] = wrong
                lines.append(json_line({"id": name, "error": wrong}))
        self._append("".join(lines))

    def remove(self) -> None:
        """Removes the progress files of all processes."""
        for path in self._parts():
            path.unlink(missing_ok=True)

    @property
    def part(self) -> Path:
        """The progress file of this process."""
        return self._path.with_name(self._path.name + ".part" + (f"-{self._rank}" if self._rank else ""))

    def _parts(self) -> list[Path]:
        first = self._path.with_name(self._path.name + ".part")
        others = self._path.parent.glob(f"{glob_escape(first.name)}-*") if self._path.parent.is_dir() else ()
        return [path for path in (first, *sorted(others)) if path.is_file()]

    def _append(self, text: str) -> None:
        path = self.part
        if not self._begun and next(intact_values(path), None) != self.head:
            self._begun = True
            head = json_line(self.head)
            write_atomically(path, lambda temporary: temporary.write_text(head + text, encoding="utf-8"))
            return
        self._begun = True
        with path.open("rb+") as file:  # a line that a kill cut short is ended, so that it is not continued
            file.seek(0, os.SEEK_END)
            end = file.tell()
            file.seek(max(end - 1, 0))
            text = text if file.read(1) in (b"\n", b"") else "\n" + text
            file.seek(end)
            file.write(text.encode("utf-8"))

    def _read_part(self, path: Path) -> dict[str, Sequence[float] | Problem]:
        check_is_progress(path, self.head)
        values = intact_values(path)
        if next(values, None) != self.head:
            return {}
        rows: dict[str, Sequence[float] | Problem] = {}
        for value in values:
            with suppress(ValueError):
                if isinstance(value, dict) and {"id", "error"} <= value.keys():
                    rows.setdefault(str(value["id"]), Problem(value["error"]))
                else:
                    name, row = parse_score_row(value, self.roles)
                    rows[name] = row
        return rows


def identity(scorer: Scorer) -> dict[str, str]:
    """Returns what says which numbers a scorer gives: unit, hash of the weights, and preprocessing."""
    names = ("unit", "weights", "preprocessing")
    return {name: str(getattr(scorer, name, "")) for name in names}


def glob_escape(name: str) -> str:
    """Returns a file's name for a pattern of names."""
    return "".join(f"[{letter}]" if letter in "[*?" else letter for letter in name)
