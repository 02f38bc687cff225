"""Samples the rejected one of several answers so that DPO on the pairs has a target policy as its optimum.

With ``D_k = log(target(y_k) / reference(y_k))`` for answers sampled from the reference, the rejected one is drawn with

    p_k = softmax_k(-beta D_k)

Over all answers of the reference this is ``reference (reference / target)^beta``, the only distribution of rejected
answers for which DPO with that beta, on chosen answers of the reference, has the target policy as its optimum. A reward
divided by the weight of its KL penalty is such a ``D`` up to a constant.

Source: Won et al. 2025, Differential Information Distribution (arXiv 2505.23761).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from diffalign.data.readers.formats.pairs_with_extra_columns import PairRow
from diffalign.data.records.pair import Pair
from diffalign.data.transforms.result import TransformResult
from diffalign.errors import DataError
from diffalign.randomness import stream


def rejection_weights(gains: Sequence[float], *, beta: float) -> list[float]:
    """Computes ``softmax(-beta D)`` of the candidates.

    Args:
        gains: ``D_k``, nats; a constant added to all of them has no effect.
        beta: The beta of the DPO training, >= 0; 0 draws all candidates with the same probability.
    """
    logits = [-beta * gain for gain in gains]
    top = max(logits)
    exponentials = [math.exp(value - top) for value in logits]
    total = sum(exponentials)
    return [value / total for value in exponentials]


def draw_rejected(
    pair: Pair, gains: Mapping[str, float], *, beta: float, seed: int = 0
) -> tuple[Pair, dict[str, float]]:
    """Draws one of a pair's answers as its rejected one.

    Args:
        pair: A pair with further answers.
        gains: ``D`` by role, of every answer but the chosen one.
        beta: See :func:`rejection_weights`.
        seed: Seed of the draw, which also depends on the pair's id.

    Returns:
        The pair without further answers, with the drawn answer and its scores as the rejected one; and the
        probability of each role in the draw.
    """
    roles = drawable_roles(pair)
    weights = rejection_weights([gains[role] for role in roles], beta=beta)
    index = int(stream(seed, pair.id, 0, "design-rejected").choice(len(roles), p=weights))
    role, answer = roles[index], pair.answers[roles[index]]
    scores = {name: values for name, values in pair.scores.items() if name not in roles}
    if role in pair.scores:
        scores["rejected"] = pair.scores[role]
    scores["pair"] = {**scores.get("pair", {}), "drawn_with": weights[index]}
    drawn = replace(pair, rejected=answer.candidate, rejected_prompt=answer.prompt, further={}, scores=scores)
    return drawn, dict(zip(roles, weights, strict=True))


def drawable_roles(pair: Pair) -> list[str]:
    """Returns the roles of which the rejected answer is drawn: every answer of a ranked list but the best."""
    return [role for role in pair.answers if role == "rejected" or role.isdigit()]


def gains_of(pair: Pair, score: str, reward_beta: float) -> dict[str, float]:
    """Returns ``D`` by role, from a stored score of every answer. Raises DataError for an answer without it."""
    gains = {}
    for role in drawable_roles(pair):
        value = pair.scores.get(role, {}).get(score)
        if value is None:
            names = sorted(pair.scores.get(role, {}))
            raise DataError(
                f"{pair.source or pair.id}: the answer '{role}' has no score '{score}'; it has "
                f"{', '.join(names) or 'none'}."
            )
        gains[role] = value / reward_beta
    return gains


def design_rejected(
    rows: Sequence[PairRow], score: str, *, beta: float, reward_beta: float, seed: int = 0
) -> TransformResult:
    """Draws the rejected answer of every row.

    Args:
        rows: Rows with several answers; a row with a single rejected answer is unchanged.
        score: The stored score of every answer that serves as the reward.
        beta: The beta of the DPO training.
        reward_beta: Divides the score: the weight of the KL penalty in the target.
        seed: Seed of the draws.

    Raises:
        DataError: No row has several answers to draw from; an answer has no such score.
    """
    if not any(len(drawable_roles(row.pair)) > 1 for row in rows):
        raise DataError(
            "no row has several answers to draw the rejected one from. Give ranked lists: rows with the columns "
            "completions and scores."
        )

    def draw_rows() -> Iterator[PairRow]:
        for row in rows:
            gains = gains_of(row.pair, score, reward_beta)
            pair, _ = draw_rejected(row.pair, gains, beta=beta, seed=seed)
            yield PairRow(pair, row.columns)

    return TransformResult(draw_rows())
