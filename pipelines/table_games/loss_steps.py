"""The same updates by the losses of the package, on all pairs of answers: what a training loop would do with endless
answers and no error of optimisation.

A pair is a row of a batch, its log-probabilities are entries of the policy's table, and the weight of a pair is how
often it is drawn and labelled so. Nothing of a loss is written here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from diffalign.losses import LOSSES, CandidateLogps, PairLogps
from pipelines.table_games.game import Game

Objective = Callable[[Tensor], Tensor]


def inpo_step(game: Game, centre: Tensor, opponent: Tensor, share: float, rate: float) -> Tensor:
    """``inpo``, minimised on pairs that the opponent draws and the game labels; the centre is the previous policy."""
    loss = LOSSES["inpo"].bind(beta=1.0 / rate, tau_over_eta=share)
    drawn = _drawn(game, opponent)
    return _minimised(lambda x: (drawn * loss(_all_pairs(x, game.reference, centre))).sum(), centre)


def gradient_step(game: Game, centre: Tensor, opponent: Tensor, share: float, rate: float) -> Tensor:
    """``rebel`` (online IPO) on all pairs, with the win rates as rewards: one step of gradient descent.

    A step of size lr on the mean over ``n^2`` pairs has ``share = 4 lr / n``.
    """
    loss, logits = LOSSES["rebel"].bind(beta=share / rate), centre.clone().requires_grad_(True)
    rewards = _rewards(game.win_rates(opponent))
    mean = loss(_all_pairs(logits.log_softmax(0), game.reference, centre, rewards)).mean()
    (slope,) = torch.autograd.grad(mean, logits)
    return (centre - share * len(centre) / 4.0 * slope).log_softmax(0)


def dno_step(game: Game, centre: Tensor, opponent: Tensor, share: float, rate: float) -> Tensor:
    """``dno`` with soft labels, minimised against the centre; there is no share of the reference."""
    return _on_win_rates("dno", game, centre, opponent, rate)


def rebel_step(game: Game, centre: Tensor, opponent: Tensor, share: float, rate: float) -> Tensor:
    """``rebel``, minimised against the centre: SPO's soft step."""
    return _on_win_rates("rebel", game, centre, opponent, rate)


def sppo_step(game: Game, centre: Tensor, opponent: Tensor, share: float, rate: float) -> Tensor:
    """``sppo``, minimised over free log-probabilities, as the paper replaces the normaliser by a constant, and then
    normalised.
    """
    return _on_win_rates("sppo", game, centre, opponent, rate)


def dpo_step(game: Game, centre: Tensor, opponent: Tensor, share: float, rate: float) -> Tensor:
    """``logistic`` on labelled pairs that the opponent draws, against the centre (share 0: iterative DPO) or the
    reference (share 1: online DPO). Only where the game is that of a reward is it a step of :mod:`exact_steps`.
    """
    loss, drawn = LOSSES["logistic"].bind(beta=1.0 / rate), _drawn(game, opponent)
    reference = game.reference if share else centre
    return _minimised(lambda x: (drawn * loss(_all_pairs(x, reference, centre))).sum(), centre)


def _on_win_rates(name: str, game: Game, centre: Tensor, opponent: Tensor, rate: float) -> Tensor:
    loss, rewards = LOSSES[name].bind(beta=1.0 / rate), _rewards(game.win_rates(opponent))
    return _minimised(lambda x: loss(_all_pairs(x, centre, centre, rewards)).mean(), centre)


def _all_pairs(
    policy: Tensor, reference: Tensor, previous: Tensor, rewards: Mapping[str, Tensor] | None = None
) -> PairLogps:
    """Returns every pair of answers, the first of the two called the chosen one."""
    first, second = _indices(len(policy))
    sides = [CandidateLogps(x) for x in (policy[first], policy[second], reference[first], reference[second])]
    before = CandidateLogps(previous[first]), CandidateLogps(previous[second])
    return PairLogps(*sides, extra_models={"previous": before}, rewards=rewards or {})


def _rewards(rates: Tensor) -> dict[str, Tensor]:
    first, second = _indices(len(rates))
    return {"chosen": rates[first], "rejected": rates[second]}


def _drawn(game: Game, policy: Tensor) -> Tensor:
    """Returns how often a policy draws each two answers and the game labels them in this order, adding up to 1/2."""
    first, second = _indices(len(policy))
    return policy.exp()[first] * policy.exp()[second] * game.beats[first, second]


def _indices(count: int) -> tuple[Tensor, Tensor]:
    every = torch.arange(count)
    return every.repeat_interleave(count), every.repeat(count)


def _minimised(objective: Objective, start: Tensor) -> Tensor:
    """Returns the policy at the least of a convex function of log-probabilities, by Newton's method with halving."""
    x = start.clone()
    for _ in range(100):
        at = x.clone().requires_grad_(True)
        value = objective(at)
        (slope,) = torch.autograd.grad(value, at)
        if slope.abs().max() < 1e-14 * max(1.0, value.item()):
            break
        curve = torch.autograd.functional.hessian(objective, x)
        step = torch.linalg.pinv(curve, hermitian=True, rtol=1e-12) @ slope
        while objective(x - step) > value and step.abs().max() > 1e-15:
            step = step / 2
        if step.abs().max() < 1e-15:
            break
        x = x - step
    return x.log_softmax(0)
