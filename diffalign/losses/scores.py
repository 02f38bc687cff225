"""What a loss receives: log-probabilities of candidates under the policy and under the reference.

A *logp* is the log-probability of one candidate, up to a constant that the reference shares: a sum of token
log-probabilities for a language model; minus half the surrogate error, ``-e/2``, for a denoiser. A *logratio* is
``logp_policy - logp_reference`` of one candidate, a *margin* the chosen logratio minus the rejected one: positive when
the policy agrees with the label. Everything is float32 (or float64 where it came in as such), shape ``(B,)``.

A pair has a chosen and a rejected candidate. A single example has one, in the chosen one's place, which is to be learnt
or, where it is not *desirable*, to be avoided.
"""

from __future__ import annotations

from collections.abc import Callable
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

    def scaled(self, factor: Tensor) -> Scores:
        """Every log-probability times its row's factor, ``(B,)``; the parts too, so that they still add up."""
        logps = exact(self.logps)
        factor = factor.to(logps)
        parts = None if self.parts is None else exact(self.parts) * factor.unsqueeze(1)
        return replace(self, logps=logps * factor, parts=parts)

    def per_token(self, lengths: Tensor | None = None) -> Scores:
        """Means over the parts that count in place of sums: every number divided by its row's length.

        Args:
            lengths: ``(B,)``, or None for the scores' own. Scores without any, such as a denoiser's, are one part each:
                nothing changes.

        Returns:
            Scores of length one, so that a second call changes nothing.
        """
        lengths = self.lengths if lengths is None else lengths
        if lengths is None:
            return self
        logps = exact(self.logps)
        count = lengths.to(logps).clamp(min=1.0)
        parts = None if self.parts is None else exact(self.parts) / count.unsqueeze(1)
        return Scores(logps / count, parts)


@dataclass(frozen=True)
class PairScores:
    """Scores of a batch of pairs, or of single candidates: then the rejected one is None. So is an absent reference.

    Args:
        chosen: Policy scores of the preferred candidates.
        rejected: Policy scores of the others; None where examples are single.
        reference_chosen: Reference scores of the preferred candidates, without gradient.
        reference_rejected: Reference scores of the others, without gradient.
        desirable: ``(B,)`` of booleans, of single candidates: which are to be learnt. None: all.
        point: A scalar without gradient: the logratio that counts as neither gain nor loss. None: nobody asked.
    """

    chosen: Scores
    rejected: Scores | None = None
    reference_chosen: Scores | None = None
    reference_rejected: Scores | None = None
    desirable: Tensor | None = None
    point: Tensor | None = None

    @property
    def pair(self) -> tuple[Scores, Scores]:
        """Policy scores ``(chosen, rejected)``. Raises ValueError for single candidates."""
        return self.chosen, _other(self.rejected)

    @property
    def chosen_logratio(self) -> Tensor:
        """``(B,)``: how much likelier the policy makes the chosen candidate than the reference does."""
        return _logratio(self.chosen, self.reference_chosen)

    @property
    def rejected_logratio(self) -> Tensor:
        """``(B,)``: the same for the rejected candidate."""
        return _logratio(_other(self.rejected), self.reference_rejected)

    @property
    def margin(self) -> Tensor:
        """``(B,)``: chosen logratio minus rejected logratio, positive when the policy agrees with the label.

        Policy gap minus reference gap, in this order: the large common part cancels before the small rest is taken.
        """
        rejected = _other(self.rejected)
        if self.reference_chosen is None or self.reference_rejected is None:
            raise ValueError("this loss compares with a reference, but the scores carry none; score the reference too")
        policy = exact(self.chosen.logps) - exact(rejected.logps)
        reference = exact(self.reference_chosen.logps) - exact(self.reference_rejected.logps)
        return policy - reference.detach()

    def detach(self) -> PairScores:
        """The same numbers without a gradient."""
        return self._each(Scores.detach)

    def scaled(self, factor: Tensor) -> PairScores:
        """Every logratio, so every margin too, times its pair's factor, ``(B,)``; negative ones turn it round.

        A factor of 1 changes no bit. Without a reference the log-probabilities themselves are scaled.
        """
        return self._each(lambda scores: scores.scaled(factor))

    def per_token(self) -> PairScores:
        """Every log-probability divided by its candidate's number of tokens, so every logratio too; the reference's by
        the policy's lengths: it is the same candidate. The margin is then one of means."""

        def mean(policy: Scores | None, reference: Scores | None) -> tuple[Scores | None, Scores | None]:
            if policy is None:
                return None, reference
            lengths = policy.lengths
            return policy.per_token(), None if reference is None else reference.per_token(lengths)

        chosen, reference_chosen = mean(self.chosen, self.reference_chosen)
        rejected, reference_rejected = mean(self.rejected, self.reference_rejected)
        assert chosen is not None
        return replace(
            self,
            chosen=chosen,
            rejected=rejected,
            reference_chosen=reference_chosen,
            reference_rejected=reference_rejected,
        )

    def gated(self, gate: Tensor) -> PairScores:
        """The rejected logratio times its pair's gate, ``(B,)``; the chosen one stays.

            rejected logp = reference + gate (policy - reference)

        A gate of 1 changes no bit, 0 drops the rejected candidate, -1 learns from it as from the chosen one.
        """
        policy, reference = _other(self.rejected), self.reference_rejected
        if reference is None:
            raise ValueError("a gate acts on the rejected logratio, but the scores carry no reference; score it too")
        parts = policy.parts
        if parts is not None and reference.parts is not None:
            parts = _between(reference.parts, parts, gate.unsqueeze(1))
        logps = _between(reference.logps, policy.logps, gate)
        return replace(self, rejected=replace(policy, logps=logps, parts=parts))

    def swapped(self, where: Tensor | None = None) -> PairScores:
        """The same pairs with the opposite label: every margin changes its sign.

        Args:
            where: ``(B,)`` of booleans: only these pairs are turned round. None turns all.
        """
        rejected = _other(self.rejected)
        if where is None:
            return PairScores(rejected, self.chosen, self.reference_rejected, self.reference_chosen)
        chosen, rejected = _exchanged(self.chosen, rejected, where)
        if self.reference_chosen is None or self.reference_rejected is None:
            return PairScores(chosen, rejected)
        return PairScores(chosen, rejected, *_exchanged(self.reference_chosen, self.reference_rejected, where))

    def _each(self, function: Callable[[Scores], Scores]) -> PairScores:
        def made(scores: Scores | None) -> Scores | None:
            return None if scores is None else function(scores)

        return replace(
            self,
            chosen=function(self.chosen),
            rejected=made(self.rejected),
            reference_chosen=made(self.reference_chosen),
            reference_rejected=made(self.reference_rejected),
        )


def _other(rejected: Scores | None) -> Scores:
    if rejected is None:
        raise ValueError(
            "this compares two candidates, but the scores are of single ones (rejected is None); train single examples "
            "with a loss that looks at one candidate alone, such as sft or kto"
        )
    return rejected


def _between(reference: Tensor, policy: Tensor, gate: Tensor) -> Tensor:
    policy, reference = exact(policy), exact(reference).detach()
    gate = gate.to(policy)
    return torch.where(gate == 1.0, policy, reference + gate * (policy - reference))


def _exchanged(one: Scores, other: Scores, where: Tensor) -> tuple[Scores, Scores]:
    def pick(a: Tensor | None, b: Tensor | None) -> Tensor | None:
        if a is None or b is None:
            return None
        mask = where.to(a.device)
        return torch.where(mask.unsqueeze(1) if a.dim() == 2 else mask, b, a)

    def mixed(a: Scores, b: Scores) -> Scores:
        logps = torch.where(where.to(a.logps.device), b.logps, a.logps)
        return Scores(logps, pick(a.parts, b.parts), pick(a.lengths, b.lengths))

    return mixed(one, other), mixed(other, one)


def _logratio(policy: Scores, reference: Scores | None) -> Tensor:
    if reference is None:
        raise ValueError("a logratio compares with a reference, but the scores carry none; score the reference too")
    return exact(policy.logps) - exact(reference.logps).detach()
