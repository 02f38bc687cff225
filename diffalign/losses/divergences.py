"""f-divergences: rewards of a log-ratio when another divergence holds the policy to its reference.

With a penalty ``D_f(policy || reference) = E_ref f(policy / reference)`` the best policy has
``reward = beta f'(policy / reference) + const(prompt)``, so every loss of a margin gets

    margin = s(R_w) - s(R_l),      s(R) = f'(exp R) up to a constant,      R the logratio

    reverse_kl     f(u) = u log u                            s(R) = R
    forward_kl     f(u) = -log u                             s(R) = -exp(-R)
    js             f(u) = u log u - (u+1) log((u+1)/2)       s(R) = log sigmoid(R)
    alpha          in (0, 1), between the two                s(R) = (1 - exp(-alpha R)) / alpha

All slopes are positive, and 1 at ``R = 0`` (js: one half): each pulls chosen answers up and rejected ones down, by
different amounts. Where an exponential would leave float32, it continues as its tangent (`probability.STEEP`): an
answer that the policy has all but lost keeps a large gradient. Total variation and chi-square are left out: their
``f'`` is not invertible, or finite at 0.

Source: Wang et al. 2023 (arXiv 2309.16240), table 1 and eq. 12. TRL's coefficient of the alpha divergence is ``1 -
alpha`` of the paper's and of this one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

import torch.nn.functional as F
from torch import Tensor

from diffalign.losses.probability import bounded_exp, bounded_expm1


def _forward(logratio: Tensor, alpha: float) -> Tensor:
    return -bounded_exp(-logratio)


def _alpha(logratio: Tensor, alpha: float) -> Tensor:
    return -bounded_expm1(-alpha * logratio) / alpha


DIVERGENCES: Mapping[str, Callable[[Tensor, float], Tensor]] = MappingProxyType(
    {
        "reverse_kl": lambda logratio, alpha: logratio,
        "forward_kl": _forward,
        "js": lambda logratio, alpha: F.logsigmoid(logratio),
        "alpha": _alpha,
    }
)
"""The transform of each divergence: ``(logratio, alpha) -> reward / beta``."""


def divergence_reward(logratio: Tensor, divergence: str = "reverse_kl", alpha: float = 0.5) -> Tensor:
    """Returns the reward of a logratio under a divergence, in units of beta and up to a constant; shape as given.

    Args:
        logratio: Any shape.
        divergence: A key of :data:`DIVERGENCES`.
        alpha: Of the alpha divergence, in (0, 1): towards 0 it is the reverse KL, towards 1 the forward KL.
    """
    return DIVERGENCES[divergence](logratio, alpha)


def reward_gain(logratio: Tensor, divergence: str = "reverse_kl", alpha: float = 0.5) -> Tensor:
    """Returns the reward of a logratio less that of logratio 0, in units of beta: 0 where policy and reference agree.

    It is ``f'(policy / reference)`` with ``f`` written such that ``f'(1) = 0``, which is no other divergence. Arguments
    as for :func:`divergence_reward`.
    """
    if divergence == "reverse_kl":
        return logratio
    zero = logratio.new_zeros(())
    return divergence_reward(logratio, divergence, alpha) - divergence_reward(zero, divergence, alpha)
