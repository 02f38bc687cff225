"""SPPO with hard labels: each candidate of a pair has a target logratio."""

from __future__ import annotations

from torch import Tensor

from diffalign.losses.hyperparameters import checked
from diffalign.losses.loss import Loss
from diffalign.losses.pair_logps import PairLogps
from diffalign.losses.pairs.sppo import SPPO_PAPER
from diffalign.losses.ranges import BETA
from diffalign.losses.regression import regression_loss


@checked
def sppo_hard(logps: PairLogps, *, beta: float, relative: bool = False) -> Tensor:
    """Self-play preference optimisation where the chosen candidate wins with certainty.

        loss_b = (R_w - 1 / (2 beta))^2 + (R_l + 1 / (2 beta))^2          relative: the same times beta^2

    with the logratios ``R`` against the policy at the start of a round.

    Args:
        logps: ``B`` pairs against a reference, the policy that sampled them.
        beta: Inverse temperature, > 0; the paper's ``1 / eta``.
        relative: Measures distances in units of ``1 / beta``: the same minimum, losses of order one. With the
            published beta of 0.001 a plain loss starts at half a million.

    Returns:
        ``(B,)``, one loss per pair.

    Facts: ``1 / (2 beta^2)`` where the policy equals its reference, with slopes ``-1 / beta`` and ``1 / beta``. Both
        candidates have a finite target: the rejected one is not pushed down without bound.

    Source: Wu et al. 2024 (arXiv 2405.00675), algorithm 1 with the probabilities 1 and 0, as the sum of both squares;
        the authors' code takes half of it.
    """
    chosen, rejected = logps.logratios
    chosen_loss, rejected_loss = (
        regression_loss(ratio, reward, beta=beta, relative=relative)
        for ratio, reward in ((chosen, 0.5), (rejected, -0.5))
    )
    return chosen_loss + rejected_loss


SPPO_HARD = Loss(
    name="sppo_hard",
    function=sppo_hard,
    takes="logps",
    is_quadratic=True,
    scale_sensitive=True,
    summary="SPPO with hard labels: a target logratio for each candidate, above 0 for the chosen, below 0 for the "
    "rejected",
    formula="(R_w - 1 / (2 beta))^2 + (R_l + 1 / (2 beta))^2; relative: times beta^2",
    source="Wu et al. 2024, arXiv 2405.00675, algorithm 1",
    papers=(SPPO_PAPER,),
    advice="In rounds of self-play on pairs of the policy's own answers: likelihoods stay bounded. Published rounds "
    "use beta 0.001; set relative: true there, and for denoisers.",
    limits={"beta": BETA},
    at_zero=lambda h: 0.5 if h["relative"] else 0.5 / h["beta"] ** 2,
)
