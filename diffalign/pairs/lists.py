"""Ranked lists: all candidates of a prompt at once, best to worst, for losses that rank them (``pairs: lists``)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from diffalign.data.records.lazy import filter_pairs, map_pairs
from diffalign.data.records.pair import Pair
from diffalign.errors import DataError
from diffalign.pairs.dataset import DatasetPairs, prompts, reasons
from diffalign.pairs.source import Fixed


@dataclass(frozen=True)
class RankedLists(Fixed):
    """Lists of one size, fixed for the whole run.

    Args:
        pairs: Each with its best candidate as chosen, its worst as rejected, and those between by rank.
        size: Candidates of each.
        source: Where they came from and what was left out, for the header.
    """

    pairs: Sequence[Pair]
    size: int
    source: str = "pairs in memory"

    def summary(self) -> str:
        """One line: how many lists of how many candidates, how many prompts, what was left out and why."""
        return f"{len(self)} lists of {self.size} on {prompts(self.pairs)} prompts from {self.source}"


def lists(data: DatasetPairs, *, size: int | None = None) -> RankedLists:
    """The data set's rankings, ``pairs: lists``.

    Args:
        data: Rows with their candidates between best and worst as further answers called by their rank.
        size: Candidates per list, 3 or more. Longer lists are cut to their best, their worst and ranks evenly spaced
            between; shorter ones are left out and counted. None: as many as they have, which must be the same for all.

    Raises:
        DataError: Lists of several sizes and no ``size``; none that is long enough; rows of two candidates alone.
    """
    if size is not None and (isinstance(size, bool) or size != int(size) or size < 3):
        raise DataError(f"size is the number of candidates per list, 3 or more; got {size!r}. Type: --set pairs.size=4")
    sizes = Counter(_size(pair) for pair in data.pairs)
    most = max(sizes)
    if most < 3:
        raise DataError(
            f"{data.name}: no row has more than two candidates, so there is nothing to rank. A list comes from the "
            "columns prompt, completions and scores (format ranked). For pairs type: --set pairs=dataset --set "
            "loss=logistic"
        )
    if size is None and len(sizes) > 1:
        there = ", ".join(f"{count} of {n}" for n, count in sorted(sizes.items()))
        raise DataError(
            f"{data.name}: the lists of a run have one size, but there are {there} candidates. Type for example: "
            f"--set pairs.size={sizes.most_common(1)[0][0]}   (longer ones are cut, shorter ones left out)"
        )
    size = most if size is None else int(size)
    long = filter_pairs(data.pairs, lambda pair: _size(pair) >= size)
    if not long:
        raise DataError(
            f"{data.name}: no list has {size} candidates; the longest has {most}. Type: --set pairs.size={most}"
        )
    kept = filter_pairs(long, lambda pair: not _tied(pair))
    if not kept:
        raise DataError(f"{data.name}: the candidates of every list have equal scores, which rank nothing.")
    short, tied = len(data) - len(long), len(long) - len(kept)
    cut = sum(count for n, count in sizes.items() if n > size)
    told = [f"left out: {short} shorter"] * bool(short) + [f"left out: {tied} tied"] * bool(tied)
    told += [f"cut to {size}: {cut}"] * bool(cut)
    source = "; ".join([data.name + reasons(data.dropped), *told])
    return RankedLists(map_pairs(kept, lambda pair: cut_to(pair, size)), size, source)


def cut_to(pair: Pair, size: int) -> Pair:
    """The list with ``size`` of its candidates: best, worst and evenly spaced ranks between, ranked anew."""
    between = _between(pair)
    kept = [between[(k * (len(between) + 1)) // (size - 1) - 1] for k in range(1, size - 1)]
    names = {old: str(rank) for rank, old in enumerate(kept, 2)}
    others = {role: answer for role, answer in pair.further.items() if not role.isdigit()}
    scores = {names.get(role, role): said for role, said in pair.scores.items() if role in names or not role.isdigit()}
    further = {names[old]: pair.further[old] for old in kept}
    return replace(pair, further={**further, **others}, scores=scores)


def _between(pair: Pair) -> list[str]:
    return sorted((role for role in pair.further if role.isdigit()), key=int)


def _size(pair: Pair) -> int:
    return 1 if pair.rejected is None else 2 + len(_between(pair))


def _tied(pair: Pair) -> bool:
    """Whether everybody who scored all candidates gave them the same score."""
    roles = ["chosen", *_between(pair), "rejected"]
    said = [pair.scores.get(role, {}) for role in roles]
    everybody = set.intersection(*map(set, said))
    return bool(everybody) and all(len({one[name] for one in said}) == 1 for name in everybody)
