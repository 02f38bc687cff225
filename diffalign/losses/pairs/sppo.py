"""SPPO: regresses each candidate's logratio to its win rate less one half."""

from __future__ import annotations

from torch import Tensor

from diffalign.losses.loss import Loss
from diffalign.losses.pair_logps import PairLogps
from diffalign.losses.paper import Paper
from diffalign.losses.ranges import BETA
from diffalign.losses.regression import regressed


def sppo(logps: PairLogps, *, beta: float, single: bool = False, relative: bool = False) -> Tensor:
    """Self-play preference optimisation.

        loss_b = [ (R_w - (P_w - 1/2) / beta)^2 + (R_l - (P_l - 1/2) / beta)^2 ] / 2

    (relative: the same times beta^2) with the logratios ``R`` and the candidates' win rates ``P`` against the model's
    other answers.

    Args:
        logps: ``B`` pairs against a reference, the policy as it was when it drew them; the rewards are the win rates,
            in [0, 1].
        beta: Inverse temperature, > 0; the paper's ``1 / eta``.
        single: The chosen candidate's number is the probability that it beats the rejected one; the rejected one's is
            one minus it, and what the data say of it is not read.
        relative: Measures distances in units of ``1 / beta``, so that the loss is of order one.

    Returns:
        ``(B,)``, one loss per pair.

    Raises:
        ValueError: A reward that is no probability.

    Facts: win rates of one half only pull back to the reference. A rejected candidate is pushed down to its target and
        no farther. The minimum over all answers is the reference times ``exp(P / beta)`` up to a constant: one
        step of multiplicative weights.

    Source: Wu et al. 2024 (arXiv 2405.00675), with the half sum of its released code.
    """
    chosen, rejected = logps.logratios
    won = _probability(logps, "chosen").to(chosen)
    lost = 1.0 - won if single else _probability(logps, "rejected").to(chosen)
    sides = ((chosen, won), (rejected, lost))
    up, down = (regressed(ratio, share - 0.5, beta=beta, relative=relative) for ratio, share in sides)
    return 0.5 * (up + down)


def _probability(logps: PairLogps, role: str) -> Tensor:
    found = logps.reward(role)
    if not bool(((found >= 0.0) & (found <= 1.0)).all()):
        wrong = found[~((found >= 0.0) & (found <= 1.0))][0].item()
        raise ValueError(
            f"the loss 'sppo' reads win rates in [0, 1], but a reward of the {role} candidate is {wrong:g}. Say with "
            "'rewards' which numbers are win rates; for scores of any size take gpo or dno, for none sppo_hard"
        )
    return found


SPPO_PAPER = Paper(
    "2405.00675", "Wu and Sun and others", 2024, "Self-Play Preference Optimization for Language Model Alignment"
)

SPPO = Loss(
    name="sppo",
    function=sppo,
    takes="logps",
    needs=("reference", "rewards"),
    is_quadratic=True,
    scale_sensitive=True,
    summary="SPPO: each candidate's logratio to its win rate less one half",
    formula="[(R_w - (P_w - 1/2) / beta)^2 + (R_l - (P_l - 1/2) / beta)^2] / 2; relative: times beta^2",
    source="Wu et al. 2024, arXiv 2405.00675",
    papers=(SPPO_PAPER,),
    advice="In rounds, on a model's own answers with their win rates among themselves. Both candidates have targets: "
    "neither likelihood runs away. Published: beta 0.001, five answers a prompt, three rounds, learning rate 5e-7. Set "
    "relative: true where an optimizer or a clipped gradient minds losses of thousands.",
    limits={"beta": BETA},
    at_zero=lambda h: None,
)
