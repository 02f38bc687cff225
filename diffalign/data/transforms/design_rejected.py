"""Designed rejections: which of several answers to reject, so that DPO on the pairs aims at a wanted policy.

With ``D_k = log(wanted(y_k) / reference(y_k))`` of answers that the reference gave, the rejected one is drawn with

    p_k = softmax_k(-beta D_k)

Drawn from all that the reference says this is ``reference (reference / wanted)^beta``, the one distribution of rejected
answers for which DPO with that beta, on chosen answers of the reference, has the wanted policy as its optimum. A reward
is such a ``D`` up to a constant once it is divided by the weight of the KL that it is wanted under.

Source: Won et al. 2025, Differential Information Distribution (arXiv 2505.23761).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from diffalign.data.readers.rows_with_columns import PairRow
from diffalign.data.records.pair import Pair
from diffalign.data.transforms.result import TransformResult
from diffalign.errors import DataError
from diffalign.randomness import stream


def rejection_weights(gains: Sequence[float], *, beta: float) -> list[float]:
    """``softmax(-beta D)`` of the candidates.

    Args:
        gains: ``D_k``, nats; a constant added to all of them changes nothing.
        beta: Of the DPO to come, >= 0; 0 draws all alike.
    """
    logits = [-beta * gain for gain in gains]
    top = max(logits)
    raw = [math.exp(value - top) for value in logits]
    total = sum(raw)
    return [value / total for value in raw]


def draw_rejected(
    pair: Pair, gains: Mapping[str, float], *, beta: float, seed: int = 0
) -> tuple[Pair, dict[str, float]]:
    """The pair with one of its other answers as the rejected one, and the probabilities that it was drawn by.

    Args:
        pair: A pair with further answers.
        gains: ``D`` by role, of every answer but the chosen one.
        beta: See :func:`rejection_weights`.
        seed: Of the draw, which the pair's id decides besides.

    Returns:
        The pair without further answers: the drawn one with its scores stands in the place of the rejected one.
    """
    roles = others(pair)
    weights = rejection_weights([gains[role] for role in roles], beta=beta)
    place = int(stream(seed, pair.id, 0, "design-rejected").choice(len(roles), p=weights))
    role, answer = roles[place], pair.answers[roles[place]]
    scores = {name: values for name, values in pair.scores.items() if name not in roles}
    if role in pair.scores:
        scores["rejected"] = pair.scores[role]
    scores["pair"] = {**scores.get("pair", {}), "drawn_with": weights[place]}
    drawn = replace(pair, rejected=answer.candidate, rejected_prompt=answer.prompt, further={}, scores=scores)
    return drawn, dict(zip(roles, weights, strict=True))


def others(pair: Pair) -> list[str]:
    """The roles among which the rejected answer is drawn: the rejected one, and those of a ranked list between."""
    return [role for role in pair.answers if role == "rejected" or role.isdigit()]


def gains_of(pair: Pair, score: str, reward_beta: float) -> dict[str, float]:
    """``D`` by role, from a stored score of every answer. Raises DataError for answers without it."""
    found = {}
    for role in others(pair):
        value = pair.scores.get(role, {}).get(score)
        if value is None:
            known = sorted(pair.scores.get(role, {}))
            raise DataError(
                f"{pair.source or pair.id}: the answer '{role}' has no score '{score}'; it has "
                f"{', '.join(known) or 'none'}."
            )
        found[role] = value / reward_beta
    return found


def design_rejected(
    lines: Sequence[PairRow], score: str, *, beta: float, reward_beta: float, seed: int = 0
) -> TransformResult:
    """The lines with drawn rejected answers.

    Args:
        lines: Lines of rows with several answers; one with a single rejected answer stays as it is.
        score: The stored score that is the reward, of every answer.
        beta: Of the DPO to come.
        reward_beta: Divides the score: the weight of the KL under which it is wanted.
        seed: Of the draws.

    Raises:
        DataError: no row with several answers to choose from; an answer without the score.
    """
    if not any(len(others(line.pair)) > 1 for line in lines):
        raise DataError(
            "no row has several answers to draw the rejected one from. Give ranked lists: rows with the columns "
            "completions and scores."
        )

    def drawn() -> Iterator[PairRow]:
        for line in lines:
            gains = gains_of(line.pair, score, reward_beta)
            pair, _ = draw_rejected(line.pair, gains, beta=beta, seed=seed)
            yield PairRow(pair, line.columns)

    return TransformResult(drawn())
