"""Implicit rewards of candidates: beta times the logratio of policy and reference.

The optimum of the KL-regularised reward problem satisfies ``r(x, c) = beta log pi(x|c)/pi_ref(x|c) + const(c)``
(Rafailov et al. 2023, arXiv 2305.18290, eq. 5), so ``beta * logratio`` is a reward up to a constant that a pair shares.
Under an f-divergence it is ``beta f'(pi / pi_ref)`` (Wang et al. 2023, arXiv 2309.16240) up to such a constant, and 0
here where policy and reference agree.
"""

from __future__ import annotations

from torch import Tensor

from diffalign.losses.candidate_logps import upcast
from diffalign.losses.divergences import reward_gain
from diffalign.losses.pair_logps import PairLogps


def implicit_rewards(
    logps: PairLogps,
    *,
    beta: float,
    against_reference: bool = True,
    divergence: str = "reverse_kl",
    alpha: float = 0.5,
) -> tuple[Tensor, Tensor | None]:
    """Returns rewards ``beta * logratio`` of both candidates, without gradient; under another divergence ``beta f'``.

    Args:
        logps: A batch of pairs, or of single candidates.
        beta: Inverse temperature of the loss that trains the policy, > 0.
        against_reference: False for a loss without a reference, whose reward is ``beta * logp``.
        divergence: The divergence that holds the policy to its reference, a key of `divergences.DIVERGENCES`.
        alpha: Of the alpha divergence.

    Returns:
        ``(chosen, rejected)``, each ``(B,)``; the second is None for single candidates. If both rewards
        fall, the policy forgets, even while their gap grows.
    """
    chosen = logps.chosen_logratio if against_reference else upcast(logps.chosen.logps)
    if logps.rejected is None:
        return beta * reward_gain(chosen.detach(), divergence, alpha), None
    rejected = logps.rejected_logratio if against_reference else upcast(logps.rejected.logps)
    return beta * reward_gain(chosen.detach(), divergence, alpha), beta * reward_gain(
        rejected.detach(), divergence, alpha
    )


def accuracy(margin: Tensor) -> Tensor:
    """Returns whether the policy agrees with the label, per pair.

    Args:
        margin: ``(B,)``, chosen minus rejected, at any scale.

    Returns:
        ``(B,)``: 1 where the margin is positive, 0 where negative, one half at a tie. So a policy that equals its
        reference has accuracy 0.5, not 0. Not-a-number counts as 0.
    """
    return (margin > 0).float() + 0.5 * (margin == 0).float()
