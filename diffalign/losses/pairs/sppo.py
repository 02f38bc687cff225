"""SPPO: regresses each candidate's logratio to its win rate minus one half."""

from __future__ import annotations

from torch import Tensor

from diffalign.losses.hyperparameters import checked
from diffalign.losses.loss import Loss
from diffalign.losses.pair_logps import PairLogps
from diffalign.losses.paper import Paper
from diffalign.losses.ranges import BETA
from diffalign.losses.regression import regression_loss


@checked
def sppo(logps: PairLogps, *, beta: float, single: bool = False, relative: bool = False) -> Tensor:
    """Self-play preference optimisation.

        loss_b = [ (R_w - (P_w - 1/2) / beta)^2 + (R_l - (P_l - 1/2) / beta)^2 ] / 2

    (relative: the same times beta^2) with the logratios ``R`` and the candidates' win rates ``P`` against the model's
    other answers.

    Args:
        logps: ``B`` pairs against a reference, the state of the policy that sampled them; the rewards are the win
            rates, in [0, 1].
        beta: Inverse temperature, > 0; the paper's ``1 / eta``.
        single: The chosen candidate's reward is the probability that it beats the rejected one; the rejected one's is
            one minus it, and its reward in the data is not read.
        relative: Measures distances in units of ``1 / beta``, so that the loss is of order one.

    Returns:
        ``(B,)``, one loss per pair.

    Raises:
        ValueError: A reward outside [0, 1].

    Facts: win rates of one half only pull back to the reference. A rejected candidate is pushed down to its target and
        not beyond. The minimum over all answers is the reference times ``exp(P / beta)`` up to a constant: one
        step of multiplicative weights.

    Source: Wu et al. 2024 (arXiv 2405.00675), with the half sum of its released code.
    """
    chosen, rejected = logps.logratios
    chosen_rate = _win_rate(logps, "chosen").to(chosen)
    rejected_rate = 1.0 - chosen_rate if single else _win_rate(logps, "rejected").to(chosen)
    sides = ((chosen, chosen_rate), (rejected, rejected_rate))
    chosen_loss, rejected_loss = (
        regression_loss(ratio, rate - 0.5, beta=beta, relative=relative) for ratio, rate in sides
    )
    return 0.5 * (chosen_loss + rejected_loss)


def _win_rate(logps: PairLogps, role: str) -> Tensor:
    rate = logps.reward(role)
    if not bool(((rate >= 0.0) & (rate <= 1.0)).all()):
        wrong = rate[~((rate >= 0.0) & (rate <= 1.0))][0].item()
        raise ValueError(
            f"the loss 'sppo' reads win rates in [0, 1], but a reward of the {role} candidate is {wrong:g}. Name "
            "the win rates in 'rewards'; for scores of any size choose gpo or dno, without scores sppo_hard"
        )
    return rate


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
    summary="SPPO: regresses each candidate's logratio to its win rate minus one half",
    formula="[(R_w - (P_w - 1/2) / beta)^2 + (R_l - (P_l - 1/2) / beta)^2] / 2; relative: times beta^2",
    source="Wu et al. 2024, arXiv 2405.00675",
    papers=(SPPO_PAPER,),
    advice="In rounds, on a model's own answers with their win rates against each other. Both candidates have "
    "targets, so likelihoods stay bounded. Published: beta 0.001, five answers per prompt, three rounds, learning "
    "rate 5e-7. Set relative: true where an optimizer or gradient clipping cannot handle losses of thousands.",
    limits={"beta": BETA},
    at_zero=lambda h: None,
)
