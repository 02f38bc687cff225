"""The fingerprint of data: what a run was trained on, by content.

It is a hash of every row as training sees it: ids, prompts, the bytes of every candidate, scores, probabilities,
groups and weights of frames, in their order. Where a file lies, what it is called and when it was changed do not
matter.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

from diffalign.data.media.decode import media_digest
from diffalign.data.records.pair import Pair
from diffalign.data.storage.tensor_cache import content_key

REPORT_EVERY = 1000
"""Rows between two calls of the progress."""

READ = {"id", "prompt", "desirable", "chosen", "rejected", "rejected_prompt", "further"}
NUMBERS = {"probability", "scores", "group", "frame_weights"}
FURTHER_FIELDS = [field.name for field in fields(Pair) if field.name not in READ | NUMBERS | {"source"}]
"""Fields of a pair that nothing here knows: they count where they are not empty."""

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class DataFingerprint:
    """Hashes of rows.

    Args:
        rows: Number of rows.
        ordered: All of every row, in order.
        unordered: The same in any order.
        candidates: Ids, prompts and candidates only, in order.
        ranges: Smallest and largest scores of the data, by which labels may be scaled.
    """

    rows: int
    ordered: str
    unordered: str
    candidates: str
    ranges: str

    def as_dict(self) -> dict[str, Any]:
        """Returns the hashes as JSON values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> DataFingerprint:
        """Returns the fingerprint of stored values. Raises ValueError where they are none."""
        names = [field.name for field in fields(cls)]
        if not isinstance(values, Mapping) or set(values) != set(names) or not isinstance(values["rows"], int):
            raise ValueError(f"expected {', '.join(names)}")
        return cls(**values)

    @classmethod
    def of(
        cls,
        pairs: Sequence[Pair],
        ranges: Mapping[str, tuple[float, float]] | None = None,
        progress: Progress | None = None,
    ) -> DataFingerprint:
        """Returns the fingerprint of rows. Each candidate is read once; texts are in memory or mapped already.

        Raises:
            DataError: A candidate cannot be read.
        """
        ordered, candidates, total = hashlib.blake2b(digest_size=16), hashlib.blake2b(digest_size=16), 0
        for number, pair in enumerate(pairs, 1):
            content = _content(pair)
            row = content_key(content, _numbers(pair))
            candidates.update(content.encode())
            ordered.update(row.encode())
            total = (total + int(row, 16)) % 2**128
            if progress is not None and (number % REPORT_EVERY == 0 or number == len(pairs) > REPORT_EVERY):
                progress("read pairs", number, len(pairs))
        limits = json.dumps({name: list(limits) for name, limits in (ranges or {}).items()}, sort_keys=True)
        return cls(len(pairs), ordered.hexdigest(), f"{total:032x}", candidates.hexdigest(), content_key(limits))


def describe_change(old: DataFingerprint, new: DataFingerprint, first_rows: Callable[[int], DataFingerprint]) -> str:
    """Returns in what the data differs, as a part of a sentence; "" where it does not.

    Args:
        old: Before.
        new: Now.
        first_rows: Returns the fingerprint of the first rows of what is there now.
    """
    if old == new:
        return ""
    if new.rows > old.rows and first_rows(old.rows).ordered == old.ordered:
        return f"{new.rows - old.rows} rows were added after the first {old.rows}"
    if new.rows != old.rows:
        return f"there were {old.rows} rows, and there are {new.rows} now"
    if old.unordered == new.unordered and old.ranges == new.ranges:
        return f"its {new.rows} rows are in another order"
    if old.candidates == new.candidates:
        return f"scores, probabilities, groups or weights of frames of its {new.rows} rows changed"
    return f"prompts, candidates or ids among its {new.rows} rows changed"


def _content(pair: Pair) -> str:
    parts: list[Any] = [pair.id, media_digest(pair.prompt), pair.desirable]
    for role, answer in pair.answers.items():
        own_prompt = None if answer.prompt is None else media_digest(answer.prompt)
        parts += [role, media_digest(answer.candidate), own_prompt]
    further = {name: getattr(pair, name) for name in FURTHER_FIELDS}
    parts += [f"{name}={value!r}" for name, value in further.items() if value]
    return content_key(*parts)


def _numbers(pair: Pair) -> str:
    scores = {role: dict(values) for role, values in pair.scores.items()}
    weights = [pair.frame_weights] if pair.frame_weights else []  # older results had none
    return json.dumps([pair.probability, scores, pair.group, *weights], sort_keys=True, default=str)
