"""Ranked lists: all candidates of a prompt at once, best to worst, for losses that rank them (``pairs: lists``)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from diffalign.data.records.lazy_pairs import filter_pairs, map_pairs
from diffalign.data.records.pair import Pair
from diffalign.errors import DataError
from diffalign.pairs.dataset import DatasetPairs, count_prompts
from diffalign.pairs.source import FixedPairs


@dataclass(frozen=True)
class RankedLists(FixedPairs):
    """Lists of one size, fixed for the whole run.

    Args:
        pairs: Each with its best candidate as chosen, its worst as rejected, and the others by rank.
        size: Number of candidates in each list.
        source: Where they came from and what was left out, for the header.
    """

    pairs: Sequence[Pair]
    size: int
    source: str = "pairs in memory"

    def summary(self) -> str:
        """Returns one line: how many lists of how many candidates, how many prompts, what was left out and why."""
        return f"{len(self)} lists of {self.size} on {count_prompts(self.pairs)} prompts from {self.source}"


def lists(data: DatasetPairs, *, size: int | None = None) -> RankedLists:
    """``pairs: lists``: the rankings of a dataset.

    Args:
        data: Rows whose candidates between best and worst are further answers, with their rank as role.
        size: Candidates per list, 3 or more. Longer lists are cut to their best, their worst and evenly spaced ranks
            between; shorter ones are left out and counted. None: as many as they have, which must be the same for all.

    Raises:
        DataError: Lists have several sizes and there is no ``size``; no list is long enough; rows have only two
            candidates.
    """
    if size is not None and (isinstance(size, bool) or size != int(size) or size < 3):
        raise DataError(f"size is the number of candidates per list, 3 or more; got {size!r}. Type: --set pairs.size=4")
    sizes = Counter(_size(pair) for pair in data.pairs)
    largest = max(sizes)
    if largest < 3:
        raise DataError(
            f"{data.name}: no row has more than two candidates, so there is nothing to rank. A list comes from the "
            "columns prompt, completions and scores (format ranked). For pairs type: --set pairs=dataset --set "
            "loss=logistic"
        )
    if size is None and len(sizes) > 1:
        counts = ", ".join(f"{count} of {n}" for n, count in sorted(sizes.items()))
        raise DataError(
            f"{data.name}: the lists of a run have one size, but there are {counts} candidates. Type for example: "
            f"--set pairs.size={sizes.most_common(1)[0][0]}   (longer ones are cut, shorter ones left out)"
        )
    size = largest if size is None else int(size)
    long_enough = filter_pairs(data.pairs, lambda pair: _size(pair) >= size)
    if not long_enough:
        raise DataError(
            f"{data.name}: no list has {size} candidates; the longest has {largest}. Type: --set pairs.size={largest}"
        )
    ranked = filter_pairs(long_enough, lambda pair: not _is_tied(pair))
    if not ranked:
        raise DataError(f"{data.name}: the candidates of every list have equal scores, which rank nothing.")
    short, tied = len(data) - len(long_enough), len(long_enough) - len(ranked)
    cut = sum(count for n, count in sizes.items() if n > size)
    notes = [f"left out: {short} shorter"] * bool(short) + [f"left out: {tied} tied"] * bool(tied)
    notes += [f"cut to {size}: {cut}"] * bool(cut)
    source = "; ".join([data.origin, *notes])
    return RankedLists(map_pairs(ranked, lambda pair: cut_list(pair, size)), size, source)


def cut_list(pair: Pair, size: int) -> Pair:
    """Returns the list with ``size`` of its candidates: best, worst and evenly spaced ranks between, renumbered."""
    middle = _middle_ranks(pair)
    kept = [middle[(k * (len(middle) + 1)) // (size - 1) - 1] for k in range(1, size - 1)]
    new_rank = {role: str(rank) for rank, role in enumerate(kept, 2)}
    unranked = {role: answer for role, answer in pair.further.items() if not role.isdigit()}
    scores = {
        new_rank.get(role, role): role_scores
        for role, role_scores in pair.scores.items()
        if role in new_rank or not role.isdigit()
    }
    return replace(pair, further={**{new_rank[role]: pair.further[role] for role in kept}, **unranked}, scores=scores)


def _middle_ranks(pair: Pair) -> list[str]:
    return sorted((role for role in pair.further if role.isdigit()), key=int)


def _size(pair: Pair) -> int:
    return 1 if pair.rejected is None else 2 + len(_middle_ranks(pair))


def _is_tied(pair: Pair) -> bool:
    """Whether every scorer that scored all candidates gave them the same score."""
    roles = ["chosen", *_middle_ranks(pair), "rejected"]
    role_scores = [pair.scores.get(role, {}) for role in roles]
    scorers = set.intersection(*map(set, role_scores))
    return bool(scorers) and all(len({scores[scorer] for scores in role_scores}) == 1 for scorer in scorers)
