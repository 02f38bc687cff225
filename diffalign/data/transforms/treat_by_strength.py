"""Flips, softens or drops labels by preference strength: ``mu``, the mean score difference over several judges.

Pairs are sorted by ``mu``. The lowest are probably mislabelled, the next are ambiguous, and the highest are learnt so
fast that they are overfitted.

Source: Wang et al. 2024, Secrets of RLHF part II (arXiv 2401.06080), section 2: ten reward models on the same pairs in
other orders, a flip of the lowest 20 %, soft labels and adaptive margins for the ambiguous pairs and the top 10 %. The
size of the soft label is ours.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from diffalign.data.readers.formats.pairs_with_extra_columns import PairRow
from diffalign.data.records.pair import FILTERED, Dropped
from diffalign.data.transforms.flip import flip_row
from diffalign.data.transforms.judge_score_gaps import Votes
from diffalign.data.transforms.result import TransformResult
from diffalign.errors import UserError, near_miss

BUCKETS = ("wrong", "ambiguous", "normal", "top")
TREATMENTS = ("keep", "flip", "soft", "margin", "soft+margin", "drop")
DEFAULT = {"wrong": "flip", "ambiguous": "soft+margin", "normal": "keep", "top": "soft+margin"}


@dataclass(frozen=True)
class Cuts:
    """Bounds of the buckets: shares of the pairs in the order of ``mu``, or values of ``mu`` where one is given.

    Args:
        wrong, ambiguous, top: Shares in [0, 1]: of the lowest, of those above them, and of the highest.
        wrong_below: Instead of the share: every pair with ``mu`` below is wrong. 0 selects pairs that the votes
            contradict.
        ambiguous_below: Instead of the share: every remaining pair with ``mu`` below is ambiguous.
        top_above: Instead of the share: every remaining pair with ``mu`` above is top.
    """

    wrong: float = 0.2
    ambiguous: float = 0.2
    top: float = 0.1
    wrong_below: float | None = None
    ambiguous_below: float | None = None
    top_above: float | None = None

    def buckets(self, means: Sequence[float]) -> list[str]:
        """Returns the bucket of each pair. Pairs with equal means are sorted by their order in the data.

        Raises:
            UserError: A share outside [0, 1].
        """
        for name, share in (("wrong", self.wrong), ("ambiguous", self.ambiguous), ("top", self.top)):
            if not 0.0 <= share <= 1.0:
                raise UserError(f"{name} is a share of the pairs, in [0, 1]; got {share}.")
        order, count = sorted(range(len(means)), key=means.__getitem__), len(means)
        wrong_end = _bucket_end(means, order, 0, self.wrong, self.wrong_below)
        ambiguous_end = _bucket_end(means, order, wrong_end, self.ambiguous, self.ambiguous_below)
        top_start = count - int(self.top * count + 0.5)
        if self.top_above is not None:
            top_start = next((rank for rank, index in enumerate(order) if means[index] > self.top_above), count)
        names = ["normal"] * count
        for rank, index in enumerate(order):
            if rank < wrong_end:
                names[index] = "wrong"
            elif rank < ambiguous_end:
                names[index] = "ambiguous"
            elif rank >= top_start:
                names[index] = "top"
        return names


def treat_by_strength(
    rows: Sequence[PairRow],
    votes: Votes,
    *,
    cuts: Cuts = Cuts(),
    treat: Mapping[str, str] = DEFAULT,
    soft: float = 0.1,
    margin_scale: float = 1.0,
) -> TransformResult:
    """Stores the votes with each pair, and changes its label by the treatment of its bucket. The order stays.

    Every row gets ``strength_mean`` and ``strength_std`` (for the row as it is written: a flipped one has ``-mu``),
    ``bucket``, ``flipped`` and ``margin``, which is 0 without a margin. ``labels: {name: column, margin: margin}``
    trains with them.

    Args:
        rows: The rows.
        votes: Their votes.
        cuts: The bounds of the buckets.
        treat: ``{bucket: treatment}``: ``keep``; ``flip``; ``soft``, probability ``1 - soft``; ``margin``, the mean
            times ``margin_scale``; both, ``soft+margin``; ``drop``.
        soft: Probability that a softened label is wrong, in [0, 0.5].
        margin_scale: A judge's unit in rewards of the policy, > 0.

    Raises:
        UserError: A bucket or treatment is unknown, or a number is out of its range.
    """
    treat = {**DEFAULT, **treat}
    for names, choices in ((treat.keys(), BUCKETS), (treat.values(), TREATMENTS)):
        for name in names:
            if name not in choices:
                raise UserError(f"'{name}' is none of {', '.join(choices)}.{near_miss(name, choices)}")
    if not 0.0 <= soft <= 0.5:
        raise UserError(f"soft is the probability that a softened label is wrong, in [0, 0.5]; got {soft}.")
    if not 0.0 < margin_scale < math.inf:
        raise UserError(f"margin-scale is a factor above 0; got {margin_scale}.")
    buckets = cuts.buckets(votes.means)
    result = TransformResult([], notes=[_summary(votes, buckets, treat)])
    result.rows = _treat_rows(rows, votes, buckets, treat, soft, margin_scale, result.dropped)
    return result


def _treat_rows(
    rows: Sequence[PairRow],
    votes: Votes,
    buckets: Sequence[str],
    treat: Mapping[str, str],
    soft: float,
    margin_scale: float,
    dropped: list[Dropped],
) -> Iterator[PairRow]:
    for row, mean, deviation, bucket in zip(rows, votes.means, votes.deviations, buckets, strict=True):
        treatment, pair = treat[bucket], row.pair
        if treatment == "drop":
            dropped.append(Dropped(pair.source, FILTERED, f"bucket {bucket}, mean {mean:g}"))
            continue
        margin = margin_scale * mean if treatment.endswith("margin") else 0.0
        numbers = {"strength_mean": mean, "strength_std": deviation, "margin": margin}
        scores = {**pair.scores, "pair": {**pair.scores.get("pair", {}), **numbers}}
        row = flip_row(PairRow(replace(pair, scores=scores), {**row.columns, "bucket": bucket}), treatment == "flip")
        if treatment.startswith("soft"):
            row = PairRow(replace(row.pair, probability=1.0 - soft), row.columns)
        yield row


def _bucket_end(means: Sequence[float], order: Sequence[int], start: int, share: float, below: float | None) -> int:
    """Returns the rank in ``order`` at which a bucket that begins at ``start`` ends."""
    if below is None:
        return min(len(order), start + int(share * len(order) + 0.5))
    return max(start, next((rank for rank, index in enumerate(order) if means[index] >= below), len(order)))


def _summary(votes: Votes, buckets: Sequence[str], treat: Mapping[str, str]) -> str:
    counts = Counter(buckets)
    against = sum(mean < 0.0 for mean in votes.means)
    parts = ", ".join(f"{counts[name]:,} {name} ({treat[name]})" for name in BUCKETS)
    return f"{votes.judges} judges; on average they contradict {against:,} of {len(buckets):,} labels; {parts}"
