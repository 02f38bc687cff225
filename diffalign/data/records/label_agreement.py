"""Compares the label of a pair with the scores that its row stores: a win of equal scores is none."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from diffalign.data.records.pair import DISPUTED, TIE, Dropped, Pair
from diffalign.data.records.seeds import SEED
from diffalign.errors import DataError, near_miss

RANKS = frozenset(("rank", "ranks", "ranking", "rankings", "place", "position"))
"""Names of numbers of which the lower is better."""
OWN_SCORES = frozenset(("score", "reward", "rating", *RANKS))
"""Names under which a data set stores the number that its labels were made of. Others are judges, who may disagree."""


def is_rank(name: str) -> bool:
    """Returns whether the lower of two numbers of this name is the better one: ``rank``, ``Ranks``, ``human_rank``."""
    return re.split(r"[^a-z]+", name.lower().rstrip("_-. 0123456789"))[-1] in RANKS


@dataclass
class Disagreement:
    """Pairs whose label the scores of one name do not support.

    Args:
        equal: Sources of pairs with equal scores.
        against: Sources of pairs whose scores favour the other candidate.
    """

    equal: list[str] = field(default_factory=list)
    against: list[str] = field(default_factory=list)


def score_gap(pair: Pair, name: str) -> float | None:
    """Returns by how much the candidate that the label prefers is ahead, by the scores of this name.

        gap = (chosen - rejected) * sign(probability - 1/2),   for ranks the other way round

    None where a score is missing, or the label is a tie; and for seeds, which are no scores.
    """
    if name == SEED:
        return None
    chosen, rejected = (pair.scores.get(role, {}).get(name) for role in ("chosen", "rejected"))
    if chosen is None or rejected is None or pair.rejected is None or pair.probability == 0.5:
        return None
    is_swapped = is_rank(name) != (pair.probability < 0.5)
    return rejected - chosen if is_swapped else chosen - rejected


def find_disagreement(pairs: Iterable[Pair]) -> dict[str, Disagreement]:
    """Returns the pairs whose label their stored scores do not support, by the name of the score."""
    found: dict[str, Disagreement] = {}
    for pair in pairs:
        for name in pair.scores.get("chosen", {}):
            gap = score_gap(pair, name)
            if gap is not None and gap <= 0.0:
                disagreement = found.setdefault(name, Disagreement())
                (disagreement.against if gap else disagreement.equal).append(pair.source or pair.id)
    return found


def drop_disputed(records: Iterable[Pair | Dropped], name: str, source: str) -> Iterator[Pair | Dropped]:
    """Yields the records; a pair whose scores of this name do not support its label as a dropped row.

    Raises:
        DataError: The first pair has no such scores.
    """
    is_known = False
    for record in records:
        if isinstance(record, Dropped):
            yield record
            continue
        names = record.scores.get("chosen", {})
        if not is_known and name not in names:
            raise DataError(
                f"agree_with={name}: the first pair of '{source}' has no score '{name}'.{near_miss(name, names)} "
                f"Its scores: {', '.join(names) or 'none'}."
            )
        is_known, gap = True, score_gap(record, name)
        if gap is not None and gap <= 0.0:
            detail = f"{name} {names[name]:g} against {record.scores['rejected'][name]:g}"
            yield Dropped(record.source, DISPUTED if gap else TIE, detail)
        else:
            yield record
