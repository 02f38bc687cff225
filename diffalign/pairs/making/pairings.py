"""Pairings: which of a prompt's judged answers are compared in training. Pure functions, a row each.

A pairing returns indices ``(chosen, rejected)``. No pair is a tie: its answers differ by more than ``gap`` in what
ranks them, scores or win rates.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from diffalign.errors import UserError, near_miss
from diffalign.pairs.making.judged_answers import SMALLEST, JudgedAnswers
from diffalign.pairs.making.rejection_sampling import rejection_sample
from diffalign.pairs.making.tournament import play_tournament

Pairs = list[tuple[int, int]]


@dataclass(frozen=True)
class PairingSettings:
    """Settings of the pairings.

    Args:
        gap: Smallest difference of what ranks the two answers, 0 or more.
        threshold: What a good answer has at least (``threshold``).
        beta: Temperature of rejection sampling, in the scores' unit (``rejection``).
        keep: Answers that rejection sampling keeps.
    """

    gap: float = 0.0
    threshold: float | None = None
    beta: float = 0.5
    keep: int = 8


def best_worst(judged: JudgedAnswers, settings: PairingSettings, random: np.random.Generator) -> Pairs:
    """Returns the best answer against the worst; of equal ones the first."""
    values = judged.values
    best, worst = (pick(range(len(values)), key=values.__getitem__) for pick in (max, min))
    return [(best, worst)] if values[best] - values[worst] > settings.gap else []


def all_pairs(judged: JudgedAnswers, settings: PairingSettings, random: np.random.Generator) -> Pairs:
    """Returns every two answers, the better one chosen: n (n - 1) / 2 pairs without ties."""
    values = judged.values
    ranked = sorted(range(len(values)), key=lambda index: -values[index])
    return [(i, j) for n, i in enumerate(ranked) for j in ranked[n + 1 :] if values[i] - values[j] > settings.gap]


def threshold(judged: JudgedAnswers, settings: PairingSettings, random: np.random.Generator) -> Pairs:
    """Returns every answer that reaches the threshold against every one that does not."""
    assert settings.threshold is not None  # checked for all prompts at once
    limit = min(settings.threshold, float(np.float32(settings.threshold)))  # scores are float32, in which 0.9 is less
    values = judged.values
    return [(i, j) for i, j in all_pairs(judged, settings, random) if values[i] >= limit > values[j]]


def rejection(judged: JudgedAnswers, settings: PairingSettings, random: np.random.Generator) -> Pairs:
    """Returns disjoint random pairs of the answers that rejection sampling keeps, the better one of each chosen.

    Equal answers count once. The reward is the score; of a judge that compares, the logit of its verdict against the
    first answer, as published.
    """
    first = list(dict.fromkeys(judged.groups).keys())
    distinct = [judged.groups.index(group) for group in first]
    rewards = judged.scores
    if rewards is None:
        wins = judged.wins[:, 0].clip(SMALLEST, 1 - SMALLEST)
        rewards = tuple((np.log(wins) - np.log1p(-wins)).tolist())
    kept = rejection_sample([rewards[index] for index in distinct], settings.keep, settings.beta, random)
    order = [distinct[kept[place]] for place in random.permutation(len(kept))]
    return [
        _ordered(judged, i, j)
        for i, j in zip(order[::2], order[1::2], strict=False)
        if _decided(judged, settings, i, j)
    ]


def tournament(judged: JudgedAnswers, settings: PairingSettings, random: np.random.Generator) -> Pairs:
    """Returns the matches of a tournament, the winner of each chosen: n - 1 pairs without ties."""
    matches = play_tournament(len(judged), lambda pairs: [float(judged.wins[i, j]) for i, j in pairs], random)
    return [match for match in matches if _decided(judged, settings, *match)]


def only_lists(judged: JudgedAnswers, settings: PairingSettings, random: np.random.Generator) -> Pairs:
    """Returns no pair: only the ranked list of all answers is written."""
    return []


PAIRINGS: Mapping[str, Callable[[JudgedAnswers, PairingSettings, np.random.Generator], Pairs]] = {
    "best_worst": best_worst,
    "all": all_pairs,
    "threshold": threshold,
    "rejection": rejection,
    "tournament": tournament,
    "list": only_lists,
}
"""Name to pairing."""


def check_pairing(name: str, settings: PairingSettings) -> None:
    """Raises UserError for an unknown pairing, or settings that it cannot follow."""
    if name not in PAIRINGS:
        raise UserError(f"pairs are made by {', '.join(PAIRINGS)}; got '{name}'.{near_miss(name, PAIRINGS)}")
    if name == "threshold" and settings.threshold is None:
        raise UserError(
            "the pairing 'threshold' needs the score that a good answer has at least. Type: --threshold 0.5"
        )
    if name != "threshold" and settings.threshold is not None:
        raise UserError(
            f"threshold belongs to the pairing 'threshold'; got it with '{name}'. Type: --pairing threshold"
        )
    if settings.gap < 0:
        raise UserError(f"gap is the smallest difference of two scores, 0 or more; got {settings.gap:g}.")
    if name == "rejection" and (settings.keep < 2 or settings.beta < 0):
        raise UserError(
            f"rejection sampling keeps 2 answers or more at a beta of 0 or more; got {settings.keep} at "
            f"{settings.beta:g}."
        )


def _decided(judged: JudgedAnswers, settings: PairingSettings, i: int, j: int) -> bool:
    if judged.scores is not None:
        return abs(judged.scores[i] - judged.scores[j]) > settings.gap
    return abs(float(judged.wins[i, j]) - 0.5) * 2 > settings.gap


def _ordered(judged: JudgedAnswers, i: int, j: int) -> tuple[int, int]:
    return (i, j) if judged.wins[i, j] > 0.5 else (j, i)
