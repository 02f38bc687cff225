"""The answers of one prompt as they were judged: by scores, or by comparisons with each other.

    wins_ij                     probability that answer i beats answer j; a half for i = j
    win_i = mean_j wins_ij      over the answers that i met, itself counted as a half
    advantage_i = mean_j logit(wins_ij)

By scores ``wins_ij = sigmoid(k (s_i - s_j))``, so an advantage is ``k (s_i - mean s)``: the score, centred over the
prompt's answers, in logits of the scorer (``k``: its ``logits_per_unit``, 1 where it has none).

Sources: win rates from scores as in Wu et al. 2024 (arXiv 2405.00675), mean logits against all answers as in Zhang et
al. 2024 (arXiv 2410.02197).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

SMALLEST = 1e-6
"""Probabilities of comparisons are kept this far from 0 and 1 where their logit is taken."""


@dataclass(frozen=True)
class JudgedAnswers:
    """The judged answers of a prompt.

    Args:
        wins: ``(n, n)``, NaN for answers that did not meet.
        scores: ``(n,)`` scores; None where a judge only compared.
        scale: Factor from a difference of scores to the logit of a win.
        groups: A number per answer, equal for equal answers.
    """

    wins: np.ndarray
    scores: tuple[float, ...] | None = None
    scale: float = 1.0
    groups: tuple[int, ...] = ()

    @classmethod
    def by_scores(cls, scores: Sequence[float], scale: float = 1.0, groups: Sequence[int] = ()) -> JudgedAnswers:
        """Returns answers that a scorer judged one by one."""
        values = np.asarray(scores, float)
        wins = 0.5 + 0.5 * np.tanh(scale * (values[:, None] - values) / 2)
        return cls(wins, tuple(map(float, scores)), scale, tuple(groups or range(len(scores))))

    @classmethod
    def by_comparisons(cls, wins: np.ndarray, groups: Sequence[int] = ()) -> JudgedAnswers:
        """Returns answers that were compared with each other."""
        return cls(np.asarray(wins, float), None, 1.0, tuple(groups or range(len(wins))))

    def __len__(self) -> int:
        return len(self.wins)

    @property
    def values(self) -> tuple[float, ...]:
        """What ranks the answers: their scores, or their win rates without any."""
        return self.win_rates if self.scores is None else self.scores

    @property
    def win_rates(self) -> tuple[float, ...]:
        """How often each answer wins against those that it met, itself counted as a half; the mean is a half."""
        return tuple(np.nanmean(self.wins, axis=1).tolist())

    @property
    def advantages(self) -> tuple[float, ...]:
        """By how many logits each answer is better than those that it met; where all met, they sum to 0."""
        if self.scores is not None:
            mean = math.fsum(self.scores) / len(self.scores)
            return tuple(self.scale * (score - mean) for score in self.scores)
        wins = self.wins.clip(SMALLEST, 1 - SMALLEST)
        return tuple(np.nanmean(np.log(wins) - np.log1p(-wins), axis=1).tolist())


def win_rates(scores: Sequence[float], scale: float = 1.0) -> list[float]:
    """Returns how often each sample of a prompt wins against all of them, itself counted as a half.

    The probability to win is the logistic function of the difference of scores, times ``scale``.

    Facts: the mean is one half; adding a constant to all scores changes nothing.
    """
    return list(JudgedAnswers.by_scores(scores, scale).win_rates)
