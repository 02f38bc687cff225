"""What a comparison found, as values that survive being written and read."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from diffalign.errors import DataError
from diffalign.evaluation.compare.drift import Sampled
from diffalign.evaluation.compare.lengths import Lengths
from diffalign.evaluation.samples.diversity import Diversity
from diffalign.evaluation.stats.length_control import LengthControlled
from diffalign.evaluation.stats.statistics import Share, WinRate
from diffalign.sharing.atomic import write_atomically

Role = Literal["held-out", "trained-on"]
"""Whether the training learnt from a scorer."""


@dataclass(frozen=True)
class Judgement:
    """What one scorer says.

    Args:
        name: As given by the user.
        role: ``"held-out"``, or ``"trained-on"`` when the pairs or a reward came from it.
        scorer, unit, weights: The scorer's own name, unit and weight hash.
        win: The aligned model's win rate.
        base_mean, aligned_mean: Mean scores, in the scorer's unit, over samples with finite scores.
        base_hits, aligned_hits: Shares of samples that show the prompted class, where the scorer can say.
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
    """Base against aligned. Held-out judgements come first.

    Args:
        judgements: One per scorer.
        diversity: Samples of one prompt, how far apart.
        prompts, seeds: How many prompts, and most seeds of one.
        unpaired: Samples left out because only one folder has their prompt and seed.
        rows: One per comparison: prompt, seed, the two files, ``{scorer: [base, aligned]}``.
        settings: Sampling settings and what made the samples.
        medium: What the samples are, a name in :data:`~diffalign.evaluation.samples.medium.MEDIA`.
        lengths: How long they are; None where all have one size.
        sampled: What both models say of the samples; None where they were not asked.
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
    sampled: Sampled | None = None

    def held_out(self) -> tuple[Judgement, ...]:
        """Judgements of scorers that the training did not learn from."""
        return tuple(judgement for judgement in self.judgements if judgement.role == "held-out")

    def to_json(self) -> dict[str, Any]:
        """Plain values; numbers that JSON cannot hold become null."""
        return plain_json(asdict(self))

    def save(self, path: Path) -> Path:
        """Writes :meth:`to_json`, with samples named from the file's own folder where they lie inside it."""
        path = Path(path)
        content = self.to_json()
        for row in content["rows"]:
            for side in ("base", "aligned"):
                if Path(row[side]).is_relative_to(path.parent):
                    row[side] = Path(row[side]).relative_to(path.parent).as_posix()
        text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
        return write_atomically(path, lambda beside: beside.write_text(text, encoding="utf-8"))

    @classmethod
    def load(cls, path: Path) -> Comparison:
        """Reads what :meth:`save` wrote; null becomes nan."""
        path = Path(path)
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            judgements = tuple(_judgement(entry) for entry in content.pop("judgements"))
            spread = Diversity(**_with_nan(content.pop("diversity")))
            sizes, said = content.pop("lengths", None), content.pop("sampled", None)
            rows = content.pop("rows")
            for row in rows:
                row.update({side: str(path.parent / row[side]) for side in ("base", "aligned")})
            return cls(
                judgements=judgements,
                diversity=spread,
                rows=tuple(rows),
                lengths=None if sizes is None else _lengths(sizes),
                sampled=None if said is None else Sampled.of(said),
                **content,
            )
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DataError(f"{path} is no comparison of this version: {error}. Make it anew with compare.") from error


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
    longer = {name: Share(**_with_nan(found)) for name, found in entry.pop("longer").items()}
    equal = {name: LengthControlled(**_with_nan(found)) for name, found in entry.pop("controlled", {}).items()}
    return Lengths(**_with_nan(entry), longer=longer, controlled=equal)


def _with_nan(entry: dict[str, Any]) -> dict[str, Any]:
    return {key: math.nan if value is None else value for key, value in entry.items()}


def plain_json(value: Any) -> Any:
    """Values as JSON can hold them: numbers that it cannot become null, what it does not know becomes text."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): plain_json(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain_json(item) for item in value]
    return value if isinstance(value, (str, int, bool, type(None))) else str(value)
