"""What a loss receives: log-probabilities of candidates under the policy and under the reference.

A *logp* is the log-probability of one candidate, up to a constant that the reference shares: a sum of token
log-probabilities for a language model; minus half the surrogate error, ``-e/2``, for a denoiser. A *logratio* is
``logp_policy - logp_reference`` of one candidate, a *margin* the chosen logratio minus the rejected one: positive when
the policy agrees with the label. Everything is float32 (or float64 where it came in as such), shape ``(B,)``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace

import torch
import torch.nn.functional as F
from torch import Tensor


def upcast(x: Tensor) -> Tensor:
    """Returns ``x`` in at least float32: margins are differences of near-equal numbers times a large beta."""
    return x if x.dtype == torch.float64 else x.float()


@dataclass(frozen=True)
class CandidateLogps:
    """Log-probabilities of one candidate per example.

    Args:
        logps: ``(B,)``, nats up to a shared constant.
        parts: ``(B, N)`` or None. What ``logps`` is the sum of: tokens, frames, latent positions; zero where masked.
        lengths: ``(B,)`` or None. How many parts count in each example.
        prompts: ``(B,)`` or None. The log-probability of the prompt itself, where the model gives it one.
        divergence: ``(B, N)`` or None. Of the policy: how far it is from its reference at each part, 0 or more; tokens:
            ``KL(reference || policy)`` of the next one.
        masks: ``(2, B, N)`` or None. How much each part counts in the reward, and how much in the divergence.
        steps: ``(B, N)`` or None. Which step of its answer each part belongs to, from 0.
        states: ``(D, B, S)`` or None. The sum of the hidden states at each step's tokens, without gradient; zero for
            steps that an answer has not.
    """

    logps: Tensor
    parts: Tensor | None = None
    lengths: Tensor | None = None
    prompts: Tensor | None = None
    divergence: Tensor | None = None
    masks: Tensor | None = None
    steps: Tensor | None = None
    states: Tensor | None = None

    def detach(self) -> CandidateLogps:
        """The same numbers without a gradient."""
        return self._each(Tensor.detach)

    def scaled(self, factor: Tensor) -> CandidateLogps:
        """Every log-probability times its row's factor, ``(B,)``; the parts too, so that they still add up."""
        factor = factor.to(upcast(self.logps))

        def times(x: Tensor | None) -> Tensor | None:
            return None if x is None else upcast(x) * (factor if x.dim() == 1 else factor.unsqueeze(1))

        return replace(
            self,
            logps=upcast(self.logps) * factor,
            parts=times(self.parts),
            prompts=times(self.prompts),
            divergence=times(self.divergence),
        )

    def _each(self, function: Callable[[Tensor], Tensor]) -> CandidateLogps:
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        return CandidateLogps(**{name: None if value is None else function(value) for name, value in values.items()})  # type: ignore[arg-type]

    def per_token(self, lengths: Tensor | None = None) -> CandidateLogps:
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
        logps = upcast(self.logps)
        count = lengths.to(logps).clamp(min=1.0)
        parts = None if self.parts is None else upcast(self.parts) / count.unsqueeze(1)
        return replace(self, logps=logps / count, parts=parts, lengths=None)


def interpolate(reference: Tensor, policy: Tensor, gate: Tensor) -> Tensor:
    """``reference + gate (policy - reference)``; where the gate is 1 the policy's own bits."""
    policy, reference = upcast(policy), upcast(reference).detach()
    gate = gate.to(policy)
    return torch.where(gate == 1.0, policy, reference + gate * (policy - reference))


def swap_rows(one: CandidateLogps, other: CandidateLogps, where: Tensor) -> tuple[CandidateLogps, CandidateLogps]:
    """Both, with the rows exchanged where it is said, ``(B,)`` of booleans."""

    def pick(a: Tensor | None, b: Tensor | None) -> Tensor | None:
        if a is None or b is None:
            return None
        if a.dim() > 1 and a.shape[-1] != b.shape[-1]:  # answers of other lengths: nothing counts behind an end
            width = max(a.shape[-1], b.shape[-1])
            a, b = (F.pad(x, (0, width - x.shape[-1])) for x in (a, b))
        mask = where.to(a.device)
        return torch.where(mask.unsqueeze(1) if a.dim() > 1 else mask, b, a)

    def mixed(a: CandidateLogps, b: CandidateLogps) -> CandidateLogps:
        return CandidateLogps(**{f.name: pick(getattr(a, f.name), getattr(b, f.name)) for f in fields(CandidateLogps)})  # type: ignore[arg-type]

    return mixed(one, other), mixed(other, one)
