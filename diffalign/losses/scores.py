"""What a loss receives: log-probabilities of candidates under the policy and under the reference.

A *logp* is the log-probability of one candidate, up to a constant that the reference shares: a sum of token
log-probabilities for a language model; minus half the surrogate error, ``-e/2``, for a denoiser. A *logratio* is
``logp_policy - logp_reference`` of one candidate, a *margin* the chosen logratio minus the rejected one: positive when
the policy agrees with the label. Everything is float32 (or float64 where it came in as such), shape ``(B,)``.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor


def exact(x: Tensor) -> Tensor:
    """Returns ``x`` in at least float32: margins are differences of near-equal numbers times a large beta."""
    return x if x.dtype == torch.float64 else x.float()


@dataclass(frozen=True)
class Scores:
    """Log-probabilities of one candidate per example.

    Args:
        logps: ``(B,)``, nats up to a shared constant.
        parts: ``(B, N)`` or None. What ``logps`` is the sum of: tokens, frames, latent positions; zero where masked.
        lengths: ``(B,)`` or None. How many parts count in each example.
    """

    logps: Tensor
    parts: Tensor | None = None
    lengths: Tensor | None = None

    def detach(self) -> Scores:
        """The same numbers without a gradient."""
        parts = None if self.parts is None else self.parts.detach()
        return replace(self, logps=self.logps.detach(), parts=parts)


@dataclass(frozen=True)
class PairScores:
    """Scores of a batch of pairs. The reference is absent (None) for losses that need none.

    Args:
        chosen: Policy scores of the preferred candidates.
        rejected: Policy scores of the others.
        reference_chosen: Reference scores of the preferred candidates, without gradient.
        reference_rejected: Reference scores of the others, without gradient.
    """

    chosen: Scores
    rejected: Scores
    reference_chosen: Scores | None = None
    reference_rejected: Scores | None = None

    @property
    def chosen_logratio(self) -> Tensor:
        """``(B,)``: how much likelier the policy makes the chosen candidate than the reference does."""
        return _logratio(self.chosen, self.reference_chosen)

    @property
    def rejected_logratio(self) -> Tensor:
        """``(B,)``: the same for the rejected candidate."""
        return _logratio(self.rejected, self.reference_rejected)

    @property
    def margin(self) -> Tensor:
        """``(B,)``: chosen logratio minus rejected logratio, positive when the policy agrees with the label.

        Policy gap minus reference gap, in this order: the large common part cancels before the small rest is taken.
        """
        if self.reference_chosen is None or self.reference_rejected is None:
            raise ValueError("this loss compares with a reference, but the scores carry none; score the reference too")
        policy = exact(self.chosen.logps) - exact(self.rejected.logps)
        reference = exact(self.reference_chosen.logps) - exact(self.reference_rejected.logps)
        return policy - reference.detach()

    def swapped(self) -> PairScores:
        """The same pairs with the opposite label: every margin changes its sign."""
        return PairScores(self.rejected, self.chosen, self.reference_rejected, self.reference_chosen)


def _logratio(policy: Scores, reference: Scores | None) -> Tensor:
    if reference is None:
        raise ValueError("a logratio compares with a reference, but the scores carry none; score the reference too")
    return exact(policy.logps) - exact(reference.logps).detach()
