"""Policy and reference side by side: how far apart their distributions over the next token are.

    KL_t = sum_v ref(v) (log ref(v) - log pi(v)) >= 0,      v over the whole vocabulary

at the place that predicts each scored token. The reference goes first and leaves its states behind; logits of both
exist for a chunk of places at a time and are computed once more for the backward pass, so none are kept.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from diffalign.policies.language.network.head import CHUNK_BYTES

NEVER = -1e30
"""A logit so low that its token never comes, and still a number: some models write minus infinity."""
Logits = Callable[[Tensor], Tensor]
"""States ``(n, D)`` in, logits ``(n, V)`` out, in float32 or better."""


@dataclass(frozen=True)
class ReferenceStates:
    """What a reference leaves of a layout, without a gradient.

    Args:
        states: ``(N, D)``: its last states at the places that predict the scored tokens.
        logits: Makes logits of them.
        activations: Its activations there by kind, see `masks`: of each layer a mean over features, ``(N,)``.
        layers: ``(L, N, D)``: its states behind each layer; None where nobody asked.
        average: Whether the mean of its logits is asked for, as one more activation.
    """

    states: Tensor
    logits: Logits
    activations: Mapping[str, Sequence[Tensor]] = field(default_factory=dict)
    layers: Tensor | None = None
    average: bool = False


class LogpsAndDivergence(NamedTuple):
    """What a network says beside its reference.

    Args:
        logps: ``(N,)``: the scored tokens' log-probabilities.
        reference: ``(N,)``: the same under the reference, without a gradient.
        divergence: ``(N,)``: ``KL(reference || policy)`` at the place that predicts each.
        masks: ``(2, N)`` or None: how much each counts in the reward and in the divergence.
    """

    logps: Tensor
    reference: Tensor
    divergence: Tensor
    masks: Tensor | None = None


def compare_tokens(
    states: Tensor,
    logits: Logits,
    beside: ReferenceStates,
    targets: Tensor,
    vocabulary: int,
    chunk_bytes: int = CHUNK_BYTES,
) -> Tensor:
    """Log-probabilities and divergences, chunk by chunk.

    Args:
        states: ``(N, D)`` of the policy.
        logits: Makes logits of them.
        beside: The reference.
        targets: ``(N,)`` the scored tokens.
        vocabulary: How many logits there are.
        chunk_bytes: Bytes of one model's logits that exist at a time, in float32.

    Returns:
        ``(4, N)``: the log-probability, the reference's, the divergence, and (0 unless asked for) the mean of the
        reference's logits.

    Facts: where both models say the same the divergence is 0, exactly, and so is its gradient.
    """

    def chunk(mine: Tensor, other: Tensor, wanted: Tensor) -> Tensor:
        with torch.no_grad():
            known = beside.logits(other)
        return _Chunk.apply(logits(mine), known, wanted, beside.average)  # type: ignore[no-any-return]

    if not len(targets):
        return states.float().sum(-1).expand(4, 0)
    rows = max(1, chunk_bytes // (4 * vocabulary))
    parts = zip(states.split(rows), beside.states.split(rows), targets.split(rows), strict=True)
    return torch.cat([checkpoint(chunk, *part, use_reentrant=False) for part in parts], 1)


class _Chunk(torch.autograd.Function):
    """``(4, n)`` of a chunk, and its slopes by the policy's logits in closed form, in fewer passes than autograd's.

    d logp / dz_v = 1[v = target] - pi(v),      d KL / dz_v = pi(v) - ref(v)
    """

    @staticmethod
    def forward(ctx: Any, raw: Tensor, other: Tensor, targets: Tensor, average: bool) -> Tensor:
        mean = other.mean(-1) if average else other.new_zeros(len(other))
        said, known = (z.clamp(min=NEVER).log_softmax(-1) for z in (raw, other))
        picked = [table.gather(1, targets[:, None])[:, 0] for table in (said, known)]
        likely = known.exp()
        divergence = known.sub_(said).mul_(likely).sum(-1).clamp_(min=0.0)
        ctx.save_for_backward(said, likely, targets)
        return torch.stack([*picked, divergence, mean])

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        said, likely, targets = ctx.saved_tensors
        of_logp, of_divergence = grad[0, :, None], grad[2, :, None]
        slope = said.exp().mul_(of_divergence - of_logp).addcmul_(likely, of_divergence, value=-1.0)
        return slope.scatter_add_(1, targets[:, None], of_logp), None, None, None
