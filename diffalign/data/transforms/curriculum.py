"""Sorts pairs into a curriculum: stages from easy to hard, by the gap between the chosen and the rejected candidate.

In a ranked list the best answer is paired with each of the others: ratings 9, 3, 7, 5 give the pairs (9, 3), (9, 5) and
(9, 7), with gaps 6, 4 and 2. A large gap is easy. The stages are trained in order, each from the weights of the one
before.

Source: Pattnaik et al. 2024, Curry-DPO (arXiv 2403.07230): four rated answers, three stages of one epoch each, the
policy of the previous stage as the reference. The rule for prompts with fewer or more pairs than stages is ours.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, get_args

from diffalign.data.readers.formats.pairs_with_extra_columns import PairRow, rank_roles
from diffalign.data.records.pair import TIE, Dropped, Pair
from diffalign.data.transforms.judge_score_gaps import column_gap
from diffalign.data.transforms.result import count_reasons
from diffalign.errors import DataError, UserError, near_miss

Order = Literal["easy_first", "hard_first", "shuffled"]
By = Literal["prompt", "global"]
PROBABILITY = "probability"


@dataclass(frozen=True)
class Curriculum:
    """Pairs by stage.

    Args:
        stages: The rows of each stage, in the order of training. Each pair stores its ``gap``.
        dropped: Rows left out because their candidates are equal.
        pairs: Number of pairs before any was dropped; larger than the number of rows where some are lists.
    """

    stages: list[list[PairRow]] = field(default_factory=list)
    dropped: list[Dropped] = field(default_factory=list)
    pairs: int = 0

    def summary(self) -> str:
        """Returns the number of pairs and the gaps of each stage."""
        parts = []
        for number, stage in enumerate(self.stages, 1):
            gaps = [row.pair.scores["pair"]["gap"] for row in stage]
            parts.append(f"stage {number}: {len(stage):,} pairs, gaps {min(gaps):.3g} to {max(gaps):.3g}")
        left = f"; dropped: {count_reasons(self.dropped)}" if self.dropped else ""
        return "; ".join(parts) + left


def build_curriculum(
    rows: Sequence[PairRow],
    *,
    key: str,
    stages: int = 3,
    order: Order = "easy_first",
    by: By = "prompt",
    seed: int = 0,
) -> Curriculum:
    """Sorts pairs into stages.

    Args:
        rows: Pairs, or lists with the answers between best and worst in ``further``.
        key: The number from which the gap is computed: a score of both candidates (a rating, a reward, a
            log-probability under the reference), a number of the pair (``strength_mean``), or ``"probability"``.
        stages: Number of stages, at least 1.
        order: ``"hard_first"`` is the exact reverse; ``"shuffled"`` fills the stages at random, for comparison.
        by: ``"prompt"``: stage i holds the i-th easiest pair of every prompt. A prompt with fewer pairs than stages is
            spread evenly; one with more has several pairs in a stage. ``"global"``: all pairs are sorted together and
            split into equal parts.
        seed: Seed of the shuffle.

    Raises:
        UserError: A setting has an unknown value.
        DataError: The score is missing, or a stage remains empty.
    """
    for name, value, choices in (("order", order, get_args(Order)), ("by", by, get_args(By))):
        if value not in choices:
            raise UserError(f"{name} is one of {', '.join(choices)}; got '{value}'.{near_miss(value, choices)}")
    if stages < 1:
        raise UserError(f"stages is the number of files to write, at least 1; got {stages}.")
    dropped: list[Dropped] = []
    sorted_rows: list[PairRow] = []
    count = 0
    for row in rows:
        for part in expand_list(row, key):
            count += 1
            if part.pair.scores["pair"]["gap"] == 0.0:
                dropped.append(
                    Dropped(part.pair.source, TIE, f"both candidates of '{part.pair.id}' have the same {key}")
                )
            else:
                sorted_rows.append(part)
    # The sort is stable: pairs of equal gap keep the order of the data.
    sorted_rows.sort(key=lambda row: -row.pair.scores["pair"]["gap"])
    if order == "shuffled":
        random.Random(seed).shuffle(sorted_rows)
    per_prompt = by == "prompt" and order != "shuffled"
    by_stage = _split_per_prompt(sorted_rows, stages) if per_prompt else _split_evenly(sorted_rows, stages)
    if order == "hard_first":
        by_stage = [stage[::-1] for stage in by_stage[::-1]]
    if empty := [number for number, stage in enumerate(by_stage, 1) if not stage]:
        raise DataError(
            f"stage {empty[0]} of {stages} stays empty: {len(sorted_rows):,} pairs remain of {count:,}, and with --by "
            "prompt each prompt needs as many pairs as there are stages. Type fewer --stages, or --by global."
        )
    return Curriculum(by_stage, dropped, count)


def expand_list(row: PairRow, key: str) -> Iterator[PairRow]:
    """Yields the pairs of a row, each with its ``gap``: a pair itself; for a ranked list the best answer against each
    of the others, from the worst to the second best.
    """
    pair = row.pair
    ranks = rank_roles(pair)
    if not ranks:
        yield _with_gap(row, pair, gap_of(pair, key))
        return
    answers, roles = pair.answers, ["chosen", *ranks, "rejected"]
    by_rating = sorted(roles, key=lambda role: -_rating(pair, role, key))
    best, further = by_rating[0], {name: answer for name, answer in pair.further.items() if name not in ranks}
    for role in by_rating[:0:-1]:
        best_and_other = replace(
            pair,
            id=f"{pair.id}/{role}" if role != "rejected" else f"{pair.id}/{len(roles)}",
            prompt=pair.prompt_of(best),
            chosen=answers[best].candidate,
            rejected=answers[role].candidate,
            rejected_prompt=None if pair.prompt_of(role) == pair.prompt_of(best) else pair.prompt_of(role),
            scores={"chosen": pair.scores.get(best, {}), "rejected": pair.scores.get(role, {})},
            further=further,
        )
        yield _with_gap(row, best_and_other, _rating(pair, best, key) - _rating(pair, role, key))


def gap_of(pair: Pair, key: str) -> float:
    """Returns the gap of the chosen over the rejected candidate. Raises DataError where the pair has no such number."""
    if key == PROBABILITY:
        return 2.0 * pair.probability - 1.0
    pair_numbers = pair.scores.get("pair", {})
    if key in pair_numbers and key not in pair.scores.get("chosen", {}):
        return pair_numbers[key]
    try:
        return column_gap(pair, key)
    except DataError as error:
        raise DataError(
            f"{error} Or give a number of the pair ({', '.join(pair_numbers) or 'none'}), or probability."
        ) from None


def _rating(pair: Pair, role: str, key: str) -> float:
    ratings = pair.scores.get(role, {})
    if key not in ratings:
        raise DataError(
            f"{pair.source or pair.id}: its answer '{role}' has no score '{key}'.{near_miss(key, ratings)} A list "
            f"needs one for every answer; this answer has: {', '.join(ratings) or 'none'}."
        )
    return ratings[key]


def _with_gap(row: PairRow, pair: Pair, gap: float) -> PairRow:
    scores = {**pair.scores, "pair": {**pair.scores.get("pair", {}), "gap": gap}}
    return PairRow(replace(pair, scores=scores), row.columns)


def _split_per_prompt(sorted_rows: Sequence[PairRow], stages: int) -> list[list[PairRow]]:
    indices_by_prompt: dict[str, list[int]] = defaultdict(list)
    for index, row in enumerate(sorted_rows):
        indices_by_prompt[str(row.pair.prompt)].append(index)
    stage_of = {}
    for indices in indices_by_prompt.values():
        for rank, index in enumerate(indices):
            stage_of[index] = int((rank + 0.5) * stages / len(indices))
    by_stage: list[list[PairRow]] = [[] for _ in range(stages)]
    for index, row in enumerate(sorted_rows):
        by_stage[stage_of[index]].append(row)
    return by_stage


def _split_evenly(sorted_rows: Sequence[PairRow], stages: int) -> list[list[PairRow]]:
    bounds = [len(sorted_rows) * number // stages for number in range(stages + 1)]
    return [list(sorted_rows[start:end]) for start, end in zip(bounds, bounds[1:], strict=False)]
