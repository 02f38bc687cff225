"""Log-probabilities of candidates under the policy or the reference: the input of a loss.

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
        parts: ``(B, N)`` or None. The summands of ``logps``: tokens, frames, latent positions; zero where masked.
        lengths: ``(B,)`` or None. The number of parts that count in each example.
        prompts: ``(B,)`` or None. The log-probability of the prompt itself, where the model gives it one.
        divergence: ``(B, N)`` or None. Of the policy: its distance from the reference at each part, 0 or more; tokens:
            ``KL(reference || policy)`` of the next one.
        masks: ``(2, B, N)`` or None. The weight of each part in the reward, and in the divergence.
        steps: ``(B, N)`` or None. The step of its answer that each part belongs to, from 0.
        states: ``(D, B, S)`` or None. The sum of the hidden states at each step's tokens, without gradient; zero for
            steps that an answer does not have.
        full: ``(B,)`` or None. ``logps`` with every part in full, where it weighs some of them less (ld_alpha).
    """

    logps: Tensor
    parts: Tensor | None = None
    lengths: Tensor | None = None
    prompts: Tensor | None = None
    divergence: Tensor | None = None
    masks: Tensor | None = None
    steps: Tensor | None = None
    states: Tensor | None = None
    full: Tensor | None = None

    def detach(self) -> CandidateLogps:
        """Returns the same numbers without a gradient."""
        return map_fields(Tensor.detach, self)

    @property
    def in_full(self) -> CandidateLogps:
        """The candidate as a likelihood: its sum has every part in full, also where a contrast weighs some less."""
        return self if self.full is None else replace(self, logps=self.full, full=None)

    def scaled(self, factor: Tensor) -> CandidateLogps:
        """Returns every log-probability times its row's factor, ``(B,)``; the parts too, so that they still add up."""
        factor = factor.to(upcast(self.logps))

        def times(x: Tensor | None) -> Tensor | None:
            return None if x is None else upcast(x) * (factor if x.dim() == 1 else factor.unsqueeze(1))

        return replace(
            self,
            logps=upcast(self.logps) * factor,
            full=times(self.full),
            parts=times(self.parts),
            prompts=times(self.prompts),
            divergence=times(self.divergence),
        )

    def per_token(self, lengths: Tensor | None = None) -> CandidateLogps:
        """Returns means over the parts that count in place of sums: every number divided by its row's length.

        Args:
            lengths: ``(B,)``, or None for the candidate's own. A candidate without lengths, such as a denoiser's, is
                one part: nothing changes.

        Returns:
            A candidate of length one, so that a second call changes nothing.
        """
        lengths = self.lengths if lengths is None else lengths
        if lengths is None:
            return self
        logps = upcast(self.logps)
        count = lengths.to(logps).clamp(min=1.0)
        full = None if self.full is None else upcast(self.full) / count
        parts = None if self.parts is None else upcast(self.parts) / count.unsqueeze(1)
        return replace(self, logps=logps / count, full=full, parts=parts, lengths=None)

    def length_desensitised(self, common: Tensor, alpha: float) -> CandidateLogps:
        """Returns the candidate with its parts from position ``common`` on, ``(B, 1)``, times ``alpha``, and their
        divergence too; ``full`` keeps the sum as it was. Raises ValueError without parts.
        """
        if self.parts is None:
            raise ValueError("ld_alpha needs each token's log-probability, but these log-probabilities are sums")
        beyond = torch.arange(self.parts.shape[1], device=self.parts.device) >= common.to(self.parts.device)

        def weighed(x: Tensor) -> Tensor:
            return torch.where(beyond, alpha * upcast(x), upcast(x))

        parts, divergence = weighed(self.parts), self.divergence
        full = upcast(self.logps) if self.full is None else self.full
        return replace(
            self,
            logps=parts.sum(1),
            full=full,
            parts=parts,
            divergence=None if divergence is None else weighed(divergence),
        )

    def gated(self, reference: CandidateLogps, gate: Tensor) -> CandidateLogps:
        """Returns ``reference + gate (policy - reference)`` of each log-probability that both have, gate ``(B,)``."""
        parts, prompts = self.parts, self.prompts
        if parts is not None and reference.parts is not None:
            parts = interpolate(reference.parts, parts, gate.unsqueeze(1))
        if prompts is not None and reference.prompts is not None:
            prompts = interpolate(reference.prompts, prompts, gate)
        return replace(self, logps=interpolate(reference.logps, self.logps, gate), parts=parts, prompts=prompts)

    def where(self, mask: Tensor, other: CandidateLogps) -> CandidateLogps:
        """Returns the candidate with the rows of ``other`` where the mask, ``(B,)`` of booleans, is true."""

        def pick(a: Tensor, b: Tensor) -> Tensor:
            if a.dim() > 1 and a.shape[-1] != b.shape[-1]:  # of different lengths: positions beyond an end are zero
                width = max(a.shape[-1], b.shape[-1])
                a, b = (F.pad(x, (0, width - x.shape[-1])) for x in (a, b))
            rows = mask.to(a.device)
            return torch.where(rows.unsqueeze(1) if a.dim() > 1 else rows, b, a)

        return map_fields(pick, self, other)


def map_fields(function: Callable[..., Tensor], *candidates: CandidateLogps) -> CandidateLogps:
    """Returns ``function`` of each field of the candidates; None for a field that one of them lacks."""
    logps = function(*(candidate.logps for candidate in candidates))
    optional: dict[str, Tensor | None] = {}
    for name in (field.name for field in fields(CandidateLogps) if field.name != "logps"):
        values = [getattr(candidate, name) for candidate in candidates]
        optional[name] = None if any(value is None for value in values) else function(*values)
    return CandidateLogps(logps, **optional)


def interpolate(reference: Tensor, policy: Tensor, gate: Tensor) -> Tensor:
    """Returns ``reference + gate (policy - reference)``; where the gate is 1 the policy's own bits."""
    policy, reference = upcast(policy), upcast(reference).detach()
    gate = gate.to(policy)
    return torch.where(gate == 1.0, policy, reference + gate * (policy - reference))
