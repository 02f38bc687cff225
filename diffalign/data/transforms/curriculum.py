"""Curricula: pairs in stages from easy to hard, by how far the chosen candidate is ahead.

Of a ranked list the best answer is paired with each of the others: of ratings 9, 3, 7, 5 come the pairs (9, 3), (9, 5)
and (9, 7), with gaps 6, 4 and 2. A large gap is easy. Stage after stage is trained, each from where the last one ended.

Source: Pattnaik et al. 2024, Curry-DPO (arXiv 2403.07230): four rated answers, three stages of one epoch each, the
policy of the stage before as the reference. The shares of prompts with fewer or more pairs than stages are ours.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, get_args

from diffalign.data.readers.rows_with_columns import PairRow, rank_roles
from diffalign.data.records.pair import TIE, Dropped, Pair
from diffalign.data.transforms.result import count_reasons
from diffalign.data.transforms.votes import column_gap
from diffalign.errors import DataError, UserError, near_miss

Order = Literal["easy_first", "hard_first", "shuffled"]
By = Literal["prompt", "global"]
PROBABILITY = "probability"


@dataclass(frozen=True)
class Curriculum:
    """Pairs by stage.

    Args:
        stages: The lines of each stage, in the order of training. Each pair's numbers say its ``gap``.
        dropped: Rows left out: equal candidates say nothing.
        pairs: How many pairs the rows gave before any was dropped; more than rows where lists are among them.
    """

    stages: list[list[PairRow]] = field(default_factory=list)
    dropped: list[Dropped] = field(default_factory=list)
    pairs: int = 0

    def summary(self) -> str:
        """One line: how many pairs in which stage, and their gaps."""
        parts = []
        for number, stage in enumerate(self.stages, 1):
            gaps = [line.pair.scores["pair"]["gap"] for line in stage]
            parts.append(f"stage {number}: {len(stage):,} pairs, gaps {min(gaps):.3g} to {max(gaps):.3g}")
        left = f"; dropped: {count_reasons(self.dropped)}" if self.dropped else ""
        return "; ".join(parts) + left


def build_curriculum(
    lines: Sequence[PairRow],
    *,
    key: str,
    stages: int = 3,
    order: Order = "easy_first",
    by: By = "prompt",
    seed: int = 0,
) -> Curriculum:
    """Sorts pairs into stages.

    Args:
        lines: Pairs, or lists with the answers between best and worst in ``further``.
        key: What tells how far the chosen candidate is ahead: a score that both candidates have (a rating, a reward, a
            log-probability under the reference), a number of the pair (``strength_mean``), or ``"probability"``.
        stages: How many, at least 1.
        order: ``"hard_first"`` is the exact reverse; ``"shuffled"`` fills the stages at random, for comparison.
        by: ``"prompt"``: stage i holds the i-th easiest pair of every prompt; of one with fewer pairs than stages they
            are spread evenly, of one with more several share a stage. ``"global"``: all pairs are sorted together and
            cut into equal parts.
        seed: Of the shuffle.

    Raises:
        UserError: A setting that is none.
        DataError: No such score, or a stage that stays empty.
    """
    for name, given, known in (("order", order, get_args(Order)), ("by", by, get_args(By))):
        if given not in known:
            raise UserError(f"{name} is one of {', '.join(known)}; got '{given}'.{near_miss(given, known)}")
    if stages < 1:
        raise UserError(f"stages is how many files are made, at least 1; got {stages}.")
    dropped: list[Dropped] = []
    found: list[PairRow] = []
    count = 0
    for line in lines:
        for part in expand_list(line, key):
            count += 1
            if part.pair.scores["pair"]["gap"] == 0.0:
                dropped.append(
                    Dropped(part.pair.source, TIE, f"{key} tells the candidates of '{part.pair.id}' not apart")
                )
            else:
                found.append(part)
    # Sorting is stable: of equal gaps the first in the data stays first.
    found.sort(key=lambda line: -line.pair.scores["pair"]["gap"])
    if order == "shuffled":
        random.Random(seed).shuffle(found)
    cut = _by_prompt(found, stages) if by == "prompt" and order != "shuffled" else _cut(found, stages)
    if order == "hard_first":
        cut = [stage[::-1] for stage in cut[::-1]]
    if empty := [number for number, stage in enumerate(cut, 1) if not stage]:
        raise DataError(
            f"stage {empty[0]} of {stages} stays empty: {len(found):,} pairs remain of {count:,}, and with --by prompt "
            "each prompt needs as many as there are stages. Type fewer --stages, or --by global."
        )
    return Curriculum(cut, dropped, count)


def expand_list(line: PairRow, key: str) -> Iterator[PairRow]:
    """The line's pairs with their ``gap`` as a number of the pair: a plain pair as it is, of a list the best answer
    against each of the others, from the worst to the second best."""
    pair = line.pair
    ranks = rank_roles(pair)
    if not ranks:
        yield _with_gap(line, pair, gap_of(pair, key))
        return
    answers, roles = pair.answers, ["chosen", *ranks, "rejected"]
    rated = sorted(roles, key=lambda role: -_rating(pair, role, key))
    best, further = rated[0], {name: answer for name, answer in pair.further.items() if name not in ranks}
    for role in rated[:0:-1]:
        one = replace(
            pair,
            id=f"{pair.id}/{role}" if role != "rejected" else f"{pair.id}/{len(roles)}",
            prompt=pair.prompt_of(best),
            chosen=answers[best].candidate,
            rejected=answers[role].candidate,
            rejected_prompt=None if pair.prompt_of(role) == pair.prompt_of(best) else pair.prompt_of(role),
            scores={"chosen": pair.scores.get(best, {}), "rejected": pair.scores.get(role, {})},
            further=further,
        )
        yield _with_gap(line, one, _rating(pair, best, key) - _rating(pair, role, key))


def gap_of(pair: Pair, key: str) -> float:
    """How far the chosen candidate of a pair is ahead. Raises DataError where nothing of the name says it."""
    if key == PROBABILITY:
        return 2.0 * pair.probability - 1.0
    both = pair.scores.get("pair", {})
    if key in both and key not in pair.scores.get("chosen", {}):
        return both[key]
    try:
        return column_gap(pair, key)
    except DataError as error:
        raise DataError(
            f"{error} Or take a number of the pair ({', '.join(both) or 'none'}), or probability."
        ) from None


def _rating(pair: Pair, role: str, key: str) -> float:
    ratings = pair.scores.get(role, {})
    if key not in ratings:
        raise DataError(
            f"{pair.source or pair.id}: its answer '{role}' has no score '{key}'.{near_miss(key, ratings)} A list "
            f"needs one for every answer; there: {', '.join(ratings) or 'none'}."
        )
    return ratings[key]


def _with_gap(line: PairRow, pair: Pair, gap: float) -> PairRow:
    scores = {**pair.scores, "pair": {**pair.scores.get("pair", {}), "gap": gap}}
    return PairRow(replace(pair, scores=scores), line.columns)


def _by_prompt(found: Sequence[PairRow], stages: int) -> list[list[PairRow]]:
    of_prompt: dict[str, list[int]] = defaultdict(list)
    for index, line in enumerate(found):  # sorted from easy to hard
        of_prompt[str(line.pair.prompt)].append(index)
    places = {}
    for indices in of_prompt.values():
        for rank, index in enumerate(indices):
            places[index] = int((rank + 0.5) * stages / len(indices))
    cut: list[list[PairRow]] = [[] for _ in range(stages)]
    for index, line in enumerate(found):
        cut[places[index]].append(line)
    return cut


def _cut(found: Sequence[PairRow], stages: int) -> list[list[PairRow]]:
    borders = [len(found) * number // stages for number in range(stages + 1)]
    return [list(found[start:end]) for start, end in zip(borders, borders[1:], strict=False)]
