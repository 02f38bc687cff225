"""Credit of tokens: the implicit reward of each token under an aligned policy and its reference.

A response is a path through states ``s_t`` (prompt and tokens so far). For the optimal policy of a reward with a KL
weight ``beta`` (the reference's log-probability is not part of the reward here),

    rho_t = beta (log pi(a_t | s_t) - log ref(a_t | s_t)) = r(s_t, a_t) + V(s_{t+1}) - V(s_t)
    sum_t rho_t = total reward - V(s_0)

so where the reward comes at the end only, ``V(s_t) - V(s_0)`` is the sum of the rewards before t: sums of a prefix
are estimates of its value.

Source: Rafailov et al. 2024, "From r to Q*" (arXiv 2404.12358).
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from diffalign.losses.candidate_logps import upcast


@dataclass(frozen=True)
class Credit:
    """Credit of responses.

    Args:
        rewards: ``(B, L)``, ``rho_t``; 0 where the mask is false.
        values: ``(B, L + 1)``, ``V(s_t) - V(s_0)`` before each token and after the last.
    """

    rewards: Tensor
    values: Tensor

    @property
    def total(self) -> Tensor:
        """``(B,)``: beta times the log-ratio of the whole response."""
        return self.values[:, -1]


def token_rewards(per_token_logp: Tensor, per_token_ref_logp: Tensor, mask: Tensor, *, beta: float) -> Credit:
    """Returns the implicit reward of each token, and the values of prefixes.

    Args:
        per_token_logp: ``(B, L)``, of the policy; values outside the mask are not read.
        per_token_ref_logp: ``(B, L)``, of the reference.
        mask: ``(B, L)``, true at a response's tokens.
        beta: The policy's beta in training, > 0. It scales all rewards.

    Facts: rewards are 0 where policy and reference agree. A mean over the reference's own samples is ``-beta KL(ref ||
        pi)``, which is never above 0: implicit rewards of chosen answers that the reference was trained on must fall.
    """
    gaps = upcast(per_token_logp) - upcast(per_token_ref_logp)
    rewards = (beta * gaps).masked_fill(~mask.bool(), 0.0)
    values = rewards.new_zeros(rewards.shape[0], rewards.shape[1] + 1)
    values[:, 1:] = rewards.cumsum(1)
    return Credit(rewards, values)
