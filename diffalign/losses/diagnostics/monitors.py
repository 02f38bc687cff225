"""Monitors of likelihoods in preference training: displacement, suppression, dispersion.

``D_w`` and ``D_l`` are the logratios of the chosen and the rejected candidate against the reference, which is the
policy before training, so each is the change of a log-probability in training; ``h = D_w - D_l`` is the margin.

Sources: Yan et al. 2024 (arXiv 2406.07327), drop, gain, suppression and dispersion; Razin et al. 2024 (arXiv
2410.08847), likelihood displacement.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from diffalign.losses.candidate_logps import upcast

LARGEST = 80.0
"""Exponents are clamped to this size: a float32 holds their exponential."""


@dataclass(frozen=True)
class Displacement:
    """The change of the likelihoods of pairs in training, in units of the log-probability.

    Args:
        gain: ``mean D_w``. Below 0 the chosen candidates have become less likely than before training: likelihood
            displacement.
        drop: ``-mean D_l``.
    """

    gain: float
    drop: float

    @property
    def margin(self) -> float:
        """``mean h``."""
        return self.gain + self.drop

    @property
    def suppression(self) -> float:
        """The share of the margin that comes from making the rejected candidates unlikely, ``mean(-D_l) / mean(h)``:
        one half when both sides moved equally, near 1 when only the rejected one did, above 1 when the chosen one fell,
        too. Not-a-number without a positive margin.
        """
        return self.drop / self.margin if self.margin > 0 else math.nan


def displacement(chosen: Tensor, rejected: Tensor) -> Displacement:
    """Returns means over pairs.

    Args:
        chosen: ``(B,)``, the logratios ``D_w``.
        rejected: ``(B,)``, ``D_l``.
    """
    return Displacement(float(upcast(chosen).mean()), -float(upcast(rejected).mean()))


def gradient_weight(margin: Tensor, *, beta: float) -> Tensor:
    """Returns ``(B,)``, ``beta (1 - s(beta h))``: the gradient of the logistic loss by a pair's log-ratios.

    The gradient by log-probabilities is the same on both sides; by the probabilities themselves it is this over ``p_w``
    and over ``p_l``, so the ratio of the two is ``p_w / p_l`` (see :func:`token_ratio`): as the rejected candidate
    vanishes, its gradient dominates the chosen one's. This holds for probabilities, not for parameters.
    """
    return beta * torch.sigmoid(-beta * upcast(margin))


def token_ratio(chosen: Tensor, rejected: Tensor, chosen_lengths: Tensor, rejected_lengths: Tensor) -> Tensor:
    """Returns ``(B,)``, ``p_w / p_l`` per token, ``exp(l_w / n_w - l_l / n_l)``.

    Args:
        chosen: ``(B,)``, summed log-probabilities under the policy.
        rejected: ``(B,)``, of the rejected candidates.
        chosen_lengths: ``(B,)``, their numbers of tokens.
        rejected_lengths: ``(B,)``, theirs.
    """
    means = [
        upcast(logps) / lengths.to(upcast(logps)).clamp(min=1.0)
        for logps, lengths in ((chosen, chosen_lengths), (rejected, rejected_lengths))
    ]
    return (means[0] - means[1]).clamp(-LARGEST, LARGEST).exp()


@dataclass(frozen=True)
class Dispersion:
    """The change of answers outside of the data: samples of the reference.

    Args:
        rise: ``log mean exp D``. Over all answers of the reference it is 0, so above 0 probability has moved to the
            sampled answers, below 0 away from them.
        mean: ``mean D``, never above ``rise``.
    """

    rise: float
    mean: float


def dispersion(logratios: Tensor) -> Dispersion:
    """Returns the dispersion for one prompt.

    Args:
        logratios: ``(K,)``, K at least 1: ``D`` of samples of the reference, none of them from the data.

    Facts: ``sum_y reference(y) exp(D(y)) = 1`` for any two distributions, so where both ``D_w`` and ``D_l`` fall,
        other answers have risen.
    """
    values = upcast(logratios)
    return Dispersion(float(torch.logsumexp(values, 0)) - math.log(len(values)), float(values.mean()))
