"""The result of a comparison, which can be saved to JSON and loaded again."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from diffalign.errors import DataError
from diffalign.evaluation.compare.drift import DriftMeasurement
from diffalign.evaluation.compare.lengths import Lengths
from diffalign.evaluation.samples.diversity import Diversity
from diffalign.evaluation.stats.rates.length_control import LengthControlled
from diffalign.evaluation.stats.rates.share import Share
from diffalign.evaluation.stats.rates.style_control import StyleControlled
from diffalign.evaluation.stats.rates.win_rate import WinRate
from diffalign.files.atomic import write_atomically
from diffalign.printable import shown

Role = Literal["held-out", "trained-on"]
"""Whether training learnt from a scorer."""


@dataclass(frozen=True)
class Judgement:
    """The result of one scorer.

    Args:
        name: Display name of what the user gave.
        role: ``"held-out"``, or ``"trained-on"`` when the pairs or a reward came from it.
        scorer, unit, weights: The name of the scorer with its model, its unit and weight hash.
        win: The aligned model's win rate.
        base_mean, aligned_mean: Mean scores, in the scorer's unit, over samples with finite scores.
        base_hits, aligned_hits: Shares of samples that show the prompted class; None if the scorer has no classes.
    """

    name: str
    role: Role
    scorer: str
    unit: str
    weights: str
    win: WinRate
    base_mean: float
    aligned_mean: float
    base_hits: Share | None = None
    aligned_hits: Share | None = None


@dataclass(frozen=True)
class Comparison:
    """The base compared with the aligned model. Held-out judgements come first.

    Args:
        judgements: One per scorer.
        diversity: Distances between samples of one prompt.
        prompts, seeds: Number of prompts, and the largest number of seeds of a prompt.
        unpaired: Number of samples left out because only one folder has their prompt and seed.
        rows: One per comparison: prompt, seed, the two files, and ``{scorer: [base, aligned]}`` as ``scores`` and, of
            scorers that decide whether a sample is right, as ``hits``; of a suite's prompt its ``categories``.
        settings: Model, weights and sampling settings of both sides.
        medium: Kind of samples, a name in :data:`~diffalign.evaluation.samples.medium.MEDIA`.
        lengths: Lengths of the samples; None if all have one size.
        sampled: Drift measured on the samples; None if it was not measured.
    """

    judgements: tuple[Judgement, ...]
    diversity: Diversity
    prompts: int
    seeds: int
    unpaired: int
    rows: tuple[Mapping[str, Any], ...]
    settings: Mapping[str, Any] = field(default_factory=dict)
    medium: str = "image"
    lengths: Lengths | None = None
    sampled: DriftMeasurement | None = None

    def held_out(self) -> tuple[Judgement, ...]:
        """Returns the judgements of scorers that training did not learn from."""
        return tuple(judgement for judgement in self.judgements if judgement.role == "held-out")

    def to_json(self) -> dict[str, Any]:
        """Returns plain values; numbers that JSON cannot hold become null."""
        return plain_json(asdict(self))

    def save(self, path: Path) -> Path:
        """Writes :meth:`to_json`; paths of samples inside the file's folder become relative to it."""
        path = Path(path)
        content = self.to_json()
        for row in content["rows"]:
            for side in ("base", "aligned"):
                if Path(row[side]).is_relative_to(path.parent):
                    row[side] = Path(row[side]).relative_to(path.parent).as_posix()
        text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
        return write_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))

    @classmethod
    def load(cls, path: Path) -> Comparison:
        """Reads what :meth:`save` wrote; null becomes nan."""
        path = Path(path)
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            judgements = tuple(_judgement(entry) for entry in content.pop("judgements"))
            diversity = Diversity(**_with_nan(content.pop("diversity")))
            lengths, sampled = content.pop("lengths", None), content.pop("sampled", None)
            rows = content.pop("rows")
            _check_rows(rows)
            for row in rows:
                row.update({side: str(path.parent / row[side]) for side in ("base", "aligned")})
            return cls(
                judgements=judgements,
                diversity=diversity,
                rows=tuple(rows),
                lengths=None if lengths is None else _lengths(lengths),
                sampled=None if sampled is None else DriftMeasurement.from_dict(sampled),
                **content,
            )
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise DataError(
                f"{path} is not a comparison of this version: {error}. Run `diffalign compare` again."
            ) from error


def _check_rows(rows: Any) -> None:
    """Raises ValueError unless each row has a prompt, and two numbers (or null) from each judge."""
    if not isinstance(rows, list) or not rows:
        raise ValueError("it has no rows")
    for number, row in enumerate(rows, 1):
        scores = row.get("scores") if isinstance(row, dict) else None
        if not isinstance(scores, dict) or not isinstance(row.get("prompt"), str):
            raise ValueError(f"row {number} has no prompt or no scores")
        for judge, pair in scores.items():
            if not isinstance(pair, list) or len(pair) != 2 or not all(map(_is_score, pair)):
                raise ValueError(f"row {number} has no two scores of {shown(str(judge))}, but {shown(str(pair))}")


def _is_score(value: Any) -> bool:
    return value is None or type(value) in (int, float)


def _judgement(entry: dict[str, Any]) -> Judgement:
    win = WinRate(**_with_nan(entry.pop("win")))
    before, after = (entry.pop(key) for key in ("base_hits", "aligned_hits"))
    return Judgement(
        **_with_nan(entry),
        win=win,
        base_hits=None if before is None else Share(**_with_nan(before)),
        aligned_hits=None if after is None else Share(**_with_nan(after)),
    )


def _lengths(entry: dict[str, Any]) -> Lengths:
    longer = {name: Share(**_with_nan(values)) for name, values in entry.pop("longer").items()}
    controlled = {name: LengthControlled(**_with_nan(values)) for name, values in entry.pop("controlled", {}).items()}
    styled = {name: StyleControlled(**_with_nan(values)) for name, values in entry.pop("styled", {}).items()}
    return Lengths(**_with_nan(entry), longer=longer, controlled=controlled, styled=styled)


def _with_nan(entry: dict[str, Any]) -> dict[str, Any]:
    return {key: math.nan if value is None else value for key, value in entry.items()}


def plain_json(value: Any) -> Any:
    """Converts values to JSON types: nan and infinities become null, and objects of other types become strings."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): plain_json(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain_json(item) for item in value]
    return value if isinstance(value, (str, int, bool, type(None))) else str(value)
