"""From the judged answers of a prompt to its places in the data: as many pairs in every round, silent where none is.

The number of places is the largest number of pairs that a pairing can form, so the order of batches and all draws are
known before a round begins. A place without a pair is silent: its loss has the weight 0.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from diffalign.data.records.pair import Answer, Media, Pair
from diffalign.data.records.to_sample import ToSample
from diffalign.pairs.making.pairings import PAIRINGS, PairingSettings
from diffalign.pairs.rounds.answers import PromptAnswers
from diffalign.pairs.rounds.judging import Judged

LIST, BEST_ONLY = "list", "best_only"
PLACES: Mapping[str, Callable[[int, PairingSettings], int]] = {
    "best_worst": lambda count, settings: 1,
    "all": lambda count, settings: count * (count - 1) // 2,
    "threshold": lambda count, settings: (count // 2) * (count - count // 2),
    "rejection": lambda count, settings: max(1, min(settings.keep, count) // 2),
    "tournament": lambda count, settings: count - 1,
    LIST: lambda count, settings: 1,
    BEST_ONLY: lambda count, settings: 1,
}
"""Pairing to ``(answers of a prompt, settings) -> places``. ``list`` ranks all answers, ``best_only`` rejects none."""
SCORE, WIN, ADVANTAGE = "score", "win", "advantage"
"""Names of an answer's numbers, as `diffalign data make` calls them: its score, its win rate, its centred score."""
NEUTRAL = {SCORE: 0.0, WIN: 0.5, ADVANTAGE: 0.0}


def waiting_pairs(
    row: Pair,
    answers: Sequence[Media],
    further: Mapping[str, Media],
    pairing: str,
    places: int,
    names: Sequence[str],
) -> list[Pair]:
    """Returns a row's places before the first round, with neutral scores.

    Args:
        row: The row.
        answers: The answers of its prompt: of the data, or the places of samples.
        further: Further samples by role.
        pairing: The pairing.
        places: Number of places.
        names: Names of the judges' own scores.
    """
    # Answers of the data come first, so that they are encoded with all others before training.
    known = sorted(answers, key=lambda answer: isinstance(answer, ToSample))
    neutral = {**dict.fromkeys(names, 0.0), **NEUTRAL}
    order = range(_size(pairing, len(known)))
    return _named([_compared(row, known, [neutral] * len(known), order, further)] * places, row)


def form_pairs(
    item: PromptAnswers,
    judged: Judged,
    pairing: str,
    places: int,
    settings: PairingSettings,
    random: np.random.Generator,
) -> list[Pair]:
    """Returns the pairs of a prompt, one for each place.

    Args:
        item: The prompt with its answers.
        judged: What the judges say of them.
        pairing: Which answers are compared, a name of :data:`PLACES`.
        places: Number of places.
        settings: Of the pairing.
        random: Draws for pairings that draw.
    """
    values, groups = judged.answers.values, judged.answers.groups
    ranked = sorted(range(len(values)), key=lambda index: -values[index])
    if pairing in (LIST, BEST_ONLY):
        orders = (
            [ranked[: _size(pairing, len(ranked))]] if values[ranked[0]] - values[ranked[-1]] > settings.gap else []
        )
    else:  # a judge may rank equal answers apart, but they are no pair
        pairs = PAIRINGS[pairing](judged.answers, settings, random)
        orders = [[i, j] for i, j in pairs if groups[i] != groups[j]][:places]
    numbers = _numbers(judged)
    made = [_compared(item.row, item.answers, numbers, order, item.further) for order in orders]
    nothing = _compared(item.row, item.answers, numbers, ranked[: _size(pairing, len(ranked))], item.further)
    return _named(made + [replace(nothing, silent=True)] * (places - len(made)), item.row)


def _size(pairing: str, answers: int) -> int:
    """Returns how many answers are compared in a place."""
    return {LIST: answers, BEST_ONLY: 1}.get(pairing, 2)


def _compared(
    row: Pair,
    answers: Sequence[Media],
    numbers: Sequence[Mapping[str, float]],
    order: Sequence[int],
    further: Mapping[str, Media],
) -> Pair:
    """Returns a comparison of the answers that ``order`` names, best first."""
    middle = [str(rank) for rank in range(2, len(order))]
    roles = ["chosen", *middle, "rejected"] if len(order) > 1 else ["chosen"]
    media = {role: answers[index] for role, index in zip(roles, order, strict=True)}
    return Pair(
        row.id,
        row.prompt,
        media["chosen"],
        media.get("rejected"),
        scores={role: numbers[index] for role, index in zip(roles, order, strict=True)},
        source=row.source,
        further={role: Answer(one) for role, one in {**media, **further}.items() if role not in ("chosen", "rejected")},
        group=row.group,
    )


def _numbers(judged: Judged) -> list[dict[str, float]]:
    """Returns the numbers of each answer by name."""
    answers, named = judged.answers, dict(judged.scores)
    if answers.scores is not None:
        named[SCORE] = answers.scores
    named |= {WIN: answers.win_rates, ADVANTAGE: answers.advantages}
    return [{name: values[index] for name, values in named.items()} for index in range(len(answers))]


def _named(pairs: Sequence[Pair], row: Pair) -> list[Pair]:
    """Returns the pairs with the ids of their places; a single place has the id of its row."""
    if len(pairs) == 1:
        return list(pairs)
    return [replace(pair, id=f"{row.id}/{place}") for place, pair in enumerate(pairs)]
