"""Preference strength: what several judges say of a pair on average, ``mu``, decides what becomes of its label.

Pairs are sorted by ``mu``. The lowest are probably mislabelled, the next ambiguous, and the very top is learnt so fast
that it is overfitted.

Source: Wang et al. 2024, Secrets of RLHF part II (arXiv 2401.06080), section 2: ten reward models on the same pairs in
other orders, a flip of the lowest 20 %, soft labels and adaptive margins for what is ambiguous and for the top 10 %.
The size of the soft label is ours.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from diffalign.data.readers.rows_with_columns import PairRow
from diffalign.data.records.pair import FILTERED, Dropped
from diffalign.data.transforms.flip import flip_row
from diffalign.data.transforms.result import TransformResult
from diffalign.data.transforms.votes import Votes
from diffalign.errors import UserError, near_miss

BUCKETS = ("wrong", "ambiguous", "normal", "top")
TREATMENTS = ("keep", "flip", "soft", "margin", "soft+margin", "drop")
DEFAULT = {"wrong": "flip", "ambiguous": "soft+margin", "normal": "keep", "top": "soft+margin"}


@dataclass(frozen=True)
class Cuts:
    """Where buckets begin and end: shares of the pairs in the order of ``mu``, or values of ``mu`` where one is given.

    Args:
        wrong, ambiguous, top: Shares in [0, 1]: of the lowest, of those above them, and of the highest.
        wrong_below: Instead: every pair with ``mu`` below is wrong. 0 is what the votes contradict.
        ambiguous_below: Instead: every further pair with ``mu`` below is ambiguous.
        top_above: Instead: every further pair with ``mu`` above is top.
    """

    wrong: float = 0.2
    ambiguous: float = 0.2
    top: float = 0.1
    wrong_below: float | None = None
    ambiguous_below: float | None = None
    top_above: float | None = None

    def buckets(self, means: Sequence[float]) -> list[str]:
        """The bucket of each pair, in their order; equal means are told apart by their order.

        Raises:
            UserError: A share outside [0, 1].
        """
        for name in ("wrong", "ambiguous", "top"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise UserError(f"{name} is a share of the pairs, in [0, 1]; got {getattr(self, name)}.")
        order, count = sorted(range(len(means)), key=means.__getitem__), len(means)
        low = _until(means, order, 0, self.wrong, self.wrong_below)
        middle = _until(means, order, low, self.ambiguous, self.ambiguous_below)
        high = count - int(self.top * count + 0.5)
        if self.top_above is not None:
            high = next((place for place, i in enumerate(order) if means[i] > self.top_above), count)
        names = ["normal"] * count
        for place, index in enumerate(order):
            names[index] = "wrong" if place < low else "ambiguous" if place < middle else names[index]
            if place >= max(high, middle):
                names[index] = "top"
        return names


def treat_by_strength(
    lines: Sequence[PairRow],
    found: Votes,
    *,
    cuts: Cuts = Cuts(),
    treat: Mapping[str, str] = DEFAULT,
    soft: float = 0.1,
    margin_scale: float = 1.0,
) -> TransformResult:
    """Writes what the votes say beside each pair, and treats its label as its bucket is treated. The order stays.

    Every row gets ``strength_mean`` and ``strength_std`` (of the row as it is written: a flipped one has ``-mu``),
    ``bucket``, ``flipped`` and ``margin``, which is 0 where no margin is meant. ``labels: {name: column, margin:
    margin}`` trains with them.

    Args:
        lines: The rows.
        found: Their votes.
        cuts: Where the buckets lie.
        treat: ``{bucket: treatment}``: ``keep``; ``flip``; ``soft``, probability ``1 - soft``; ``margin``, the mean
            times ``margin_scale``; both, ``soft+margin``; ``drop``.
        soft: How likely a softened label is wrong, in [0, 0.5].
        margin_scale: A judge's unit in rewards of the policy, > 0.

    Raises:
        UserError: An unknown bucket or treatment, or a number out of its range.
    """
    treat = {**DEFAULT, **treat}
    for given, known in ((treat.keys(), BUCKETS), (treat.values(), TREATMENTS)):
        for name in given:
            if name not in known:
                raise UserError(f"'{name}' is none of {', '.join(known)}.{near_miss(name, known)}")
    if not 0.0 <= soft <= 0.5:
        raise UserError(f"soft is how likely a softened label is wrong, in [0, 0.5]; got {soft}.")
    if not 0.0 < margin_scale < math.inf:
        raise UserError(f"margin-scale is a factor above 0; got {margin_scale}.")
    buckets = cuts.buckets(found.means)
    outcome = TransformResult([], notes=[_told(found, buckets, treat)])
    outcome.lines = _treated(lines, found, buckets, treat, soft, margin_scale, outcome.dropped)
    return outcome


def _treated(
    lines: Sequence[PairRow],
    found: Votes,
    buckets: Sequence[str],
    treat: Mapping[str, str],
    soft: float,
    margin_scale: float,
    dropped: list[Dropped],
) -> Iterator[PairRow]:
    for line, mean, deviation, bucket in zip(lines, found.means, found.deviations, buckets, strict=True):
        what, pair = treat[bucket], line.pair
        if what == "drop":
            dropped.append(Dropped(pair.source, FILTERED, f"bucket {bucket}, mean {mean:g}"))
            continue
        margin = margin_scale * mean if what.endswith("margin") else 0.0
        numbers = {"strength_mean": mean, "strength_std": deviation, "margin": margin}
        scores = {**pair.scores, "pair": {**pair.scores.get("pair", {}), **numbers}}
        line = flip_row(PairRow(replace(pair, scores=scores), {**line.columns, "bucket": bucket}), what == "flip")
        if what.startswith("soft"):
            line = PairRow(replace(line.pair, probability=1.0 - soft), line.columns)
        yield line


def _until(means: Sequence[float], order: Sequence[int], start: int, share: float, below: float | None) -> int:
    """The place in ``order`` where a bucket that begins at ``start`` ends."""
    if below is None:
        return min(len(order), start + int(share * len(order) + 0.5))
    return max(start, next((place for place, index in enumerate(order) if means[index] >= below), len(order)))


def _told(found: Votes, buckets: Sequence[str], treat: Mapping[str, str]) -> str:
    counts = Counter(buckets)
    against = sum(mean < 0.0 for mean in found.means)
    parts = ", ".join(f"{counts[name]:,} {name} ({treat[name]})" for name in BUCKETS)
    return f"{found.judges} judges; on average they contradict {against:,} of {len(buckets):,} labels; {parts}"
