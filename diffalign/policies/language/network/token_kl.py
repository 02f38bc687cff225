"""KL divergence between the next-token distributions of reference and policy.

    KL_t = sum_v ref(v) (log ref(v) - log pi(v)) >= 0,      v over the whole vocabulary

at the position that predicts each scored token. The reference runs first and leaves its states. Logits of both models
exist for a chunk of positions at a time and are recomputed for the backward pass, so none are kept.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from diffalign.policies.language.network.head import CHUNK_BYTES

MIN_LOGIT = -1e30
"""A finite logit of probability 0: some models write minus infinity."""
LogitsFunction = Callable[[Tensor], Tensor]
"""States ``(n, D)`` in, logits ``(n, V)`` out, in float32 or better."""


@dataclass(frozen=True)
class ReferenceStates:
    """What the comparison with a policy needs from a reference, without gradient.

    Args:
        states: ``(N, D)``: last states at the positions that predict the scored tokens.
        logits: Turns them into logits.
        activations: Activations at these positions by kind, see `token_masks`: for each layer a mean over features,
            ``(N,)``.
        layer_states: ``(L, N, D)``: states after each layer; None unless masks are learned.
        with_mean_logit: Whether the mean of the logits is one more activation.
    """

    states: Tensor
    logits: LogitsFunction
    activations: Mapping[str, Sequence[Tensor]] = field(default_factory=dict)
    layer_states: Tensor | None = None
    with_mean_logit: bool = False


class LogpsAndDivergence(NamedTuple):
    """Comparison of a network with its reference.

    Args:
        logps: ``(N,)``: log-probabilities of the scored tokens.
        reference_logps: ``(N,)``: the same under the reference, without gradient.
        divergence: ``(N,)``: ``KL(reference || policy)`` at the position that predicts each.
        masks: ``(2, N)`` or None: weight of each token in the reward and in the divergence.
    """

    logps: Tensor
    reference_logps: Tensor
    divergence: Tensor
    masks: Tensor | None = None


def compare_tokens(
    states: Tensor,
    logits: LogitsFunction,
    reference: ReferenceStates,
    targets: Tensor,
    vocabulary: int,
    chunk_bytes: int = CHUNK_BYTES,
) -> Tensor:
    """Returns log-probabilities and divergences, computed chunk by chunk.

    Args:
        states: ``(N, D)`` of the policy.
        logits: Turns them into logits.
        reference: The reference's states.
        targets: ``(N,)`` the scored tokens.
        vocabulary: Number of logits.
        chunk_bytes: Bytes of one model's logits that exist at a time, in float32.

    Returns:
        ``(4, N)``: the log-probability, the reference's, the divergence, and the mean of the reference's logits (0
        unless ``reference.with_mean_logit``).

    Facts: where both models give equal logits the divergence is exactly 0, and so is its gradient.
    """

    def compare_chunk(policy_states: Tensor, reference_states: Tensor, chunk_targets: Tensor) -> Tensor:
        with torch.no_grad():
            reference_logits = reference.logits(reference_states)
        policy_logits = logits(policy_states)
        return _CompareLogits.apply(policy_logits, reference_logits, chunk_targets, reference.with_mean_logit)  # type: ignore[no-any-return]

    if not len(targets):
        return states.float().sum(-1).expand(4, 0)
    rows = max(1, chunk_bytes // (4 * vocabulary))
    chunks = zip(states.split(rows), reference.states.split(rows), targets.split(rows), strict=True)
    return torch.cat([checkpoint(compare_chunk, *chunk, use_reentrant=False) for chunk in chunks], 1)


class _CompareLogits(torch.autograd.Function):
    """``(4, n)`` of a chunk; its gradient by the policy's logits in closed form takes fewer passes than autograd's.

    d logp / dz_v = 1[v = target] - pi(v),      d KL / dz_v = pi(v) - ref(v)
    """

    @staticmethod
    def forward(ctx: Any, logits: Tensor, reference_logits: Tensor, targets: Tensor, with_mean_logit: bool) -> Tensor:
        mean = reference_logits.mean(-1) if with_mean_logit else reference_logits.new_zeros(len(reference_logits))
        log_pi, log_ref = (z.clamp(min=MIN_LOGIT).log_softmax(-1) for z in (logits, reference_logits))
        logps = [table.gather(1, targets[:, None])[:, 0] for table in (log_pi, log_ref)]
        ref = log_ref.exp()
        divergence = log_ref.sub_(log_pi).mul_(ref).sum(-1).clamp_(min=0.0)
        ctx.save_for_backward(log_pi, ref, targets)
        return torch.stack([*logps, divergence, mean])

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        log_pi, ref, targets = ctx.saved_tensors
        logp_grad, divergence_grad = grad[0, :, None], grad[2, :, None]
        logit_grad = log_pi.exp().mul_(divergence_grad - logp_grad).addcmul_(ref, divergence_grad, value=-1.0)
        return logit_grad.scatter_add_(1, targets[:, None], logp_grad), None, None, None
