"""GPO: regresses each candidate's logratio to its preference score against the model's other answers."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from diffalign.losses.hyperparameters import Hyper, checked
from diffalign.losses.loss import Loss
from diffalign.losses.pair_logps import PairLogps
from diffalign.losses.pairs.sppo import SPPO_PAPER
from diffalign.losses.paper import Paper
from diffalign.losses.ranges import BETA, Range
from diffalign.losses.regression import regression_loss


@checked
def gpo(logps: PairLogps, *, beta: float, clamp: float = 0.0, relative: bool = False, centred: bool = True) -> Tensor:
    """General preference optimisation.

        loss_b = [ (R_w - v_w / beta)^2 + (R_l - v_l / beta)^2 ] / 2           relative: the same times beta^2

    with the logratios ``R`` and the candidates' rewards ``v``, centred: less the mean of the two.

    Args:
        logps: ``B`` pairs against a reference, the state of the policy that sampled them, with rewards of any sign and
            size.
        beta: Inverse temperature, > 0. A candidate's target is its reward over beta.
        clamp: Largest size of a target; 0: no limit.
        relative: Measures distances in units of ``1 / beta``, so that the loss is of the rewards' own size.
        centred: Whether rewards are centred per prompt, on the mean of the pair's two. False: they are taken as they
            are, for a judge's mean scores of each answer against *all* answers of its prompt, which have mean 0 over
            the prompt as in the paper. A scorer's raw scores have another mean: where both are positive, the rejected
            answer would be raised too.

    Returns:
        ``(B,)``, one loss per pair.

    Facts: it is zero where both logratios are at their targets. Beyond its target a chosen candidate is pulled back
        down, so margins stay finite. Centred targets are ``+-(v_w - v_l) / (2 beta)``, so a rejected candidate is never
        raised, and a constant added to all rewards changes nothing. With the win rates less one half as rewards, not
        centred, it is ``sppo``.

    Source: Zhang et al. 2024 (arXiv 2410.02197), GPO. The released code contains only the drivers; the regression
        is SPPO's with the score in place of the win rate and 0 for its normaliser; the clamp (1000) is the drivers'.
    """
    chosen, rejected = logps.logratios
    rewards = [logps.reward(role).to(chosen) for role in ("chosen", "rejected")]
    if centred:
        mean = 0.5 * (rewards[0] + rewards[1])
        rewards = [value - mean for value in rewards]
    if clamp:
        rewards = [value.clamp(-clamp * beta, clamp * beta) for value in rewards]
    chosen_loss, rejected_loss = (
        regression_loss(ratio, value, beta=beta, relative=relative)
        for ratio, value in zip((chosen, rejected), rewards, strict=True)
    )
    return 0.5 * (chosen_loss + rejected_loss)


def _refuse_raw_scores(hyper: Hyper, chosen: Tensor, rejected: Tensor) -> None:
    """Raises ValueError for rewards that are taken as they are and cannot be centred: all have one sign."""
    rewards = torch.cat([chosen, rejected])
    if hyper["centred"] or not len(rewards) or bool((rewards <= 0).any() and (rewards >= 0).any()):
        return
    raise ValueError(
        f"'gpo' with centred: false takes rewards as they are, and all {len(rewards):,} of the data are "
        f"{'above' if rewards[0] > 0 else 'below'} 0 (from {rewards.min():.4g} to {rewards.max():.4g}): raw scores, "
        "which would pull both answers the same way. Name rewards that are centred over a prompt's answers, "
        "loss.rewards=advantage, or type: --set loss.centred=true"
    )


GPO = Loss(
    name="gpo",
    function=gpo,
    takes="logps",
    needs=("reference", "rewards"),
    is_quadratic=True,
    scale_sensitive=True,
    summary="GPO: each candidate's logratio to its score, centred per prompt",
    formula="[(R_w - v_w / beta)^2 + (R_l - v_l / beta)^2] / 2, v the rewards of the data less their mean; "
    "relative: times beta^2",
    source="Zhang et al. 2024, arXiv 2410.02197; the regression as in Wu et al. 2024, arXiv 2405.00675",
    papers=(
        Paper(
            "2410.02197",
            "Zhang and Zhang and others",
            2024,
            "Beyond Bradley-Terry Models: A General Preference Model for Language Model Alignment",
        ),
        SPPO_PAPER,
    ),
    advice="In rounds, on a model's own answers that a pairwise judge compared; preferences may be cyclic. Published: "
    "beta 0.001 of sums over tokens, three rounds, learning rate 5e-7. Scores of a scorer are centred on the mean of "
    "a pair; centred: false is for scores that were centred over all answers of a prompt, such as the column advantage "
    "of `diffalign data make`, and refuses raw ones. Set "
    "relative: true where an optimizer or gradient clipping cannot handle losses of thousands.",
    limits={
        "beta": BETA,
        "clamp": Range(
            *(0.0, math.inf, True, False),
            meaning="the largest size of a target",
            advice="Leave it at 0 for none; the released scripts take 1000.",
        ),
    },
    fits_rewards=_refuse_raw_scores,
    at_zero=lambda h: None,
)
