"""Loops by name: each by the formula of its paper and by the package's loss, and how fast a sequence falls."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import torch
from torch import Tensor

from pipelines.table_games import loss_steps as losses
from pipelines.table_games.exact_steps import Step, constant, decreasing, exact_step, extragradient, self_play
from pipelines.table_games.game import Game

ROUNDS, COMPARED = 400, 12
FLOOR = 1e-12
"""Below it a distance is rounding."""


@dataclass(frozen=True)
class Row:
    """A loop.

    Args:
        name: The methods that it is.
        play: From a step and a game, its policies.
        loss: The step by a loss of the package, and the loss's name.
        bound: The factor per round that its theory guarantees, from the game; None: none.
        by_power: Whether its distance falls by a power of the round, as decreasing steps make it.
    """

    name: str
    play: Callable[[Step, Game], Iterator[Tensor]]
    loss: tuple[str, Step]
    bound: Callable[[Game], float] | None = None
    by_power: bool = False


TO_EQUILIBRIUM = (
    Row("online IPO", lambda step, g: self_play(step, g, constant(0.1)), ("rebel", losses.gradient_step)),
    Row("INPO, tau / eta = 0.1", lambda step, g: self_play(step, g, constant(0.1)), ("inpo", losses.inpo_step)),
    Row(
        "INPO, 2 / (t + 3)",
        lambda step, g: self_play(step, g, decreasing),
        ("inpo", losses.inpo_step),
        by_power=True,
    ),
    Row(
        "EGPO, eta beta = 0.1",
        lambda step, g: extragradient(step, g, constant(0.1)),
        ("rebel", losses.gradient_step),
        lambda g: 0.9,
    ),
    Row(
        "Nash-MP, eta = 2 beta",
        lambda step, g: extragradient(step, g, constant(2 * g.beta / (1 + 2 * g.beta))),
        ("inpo", losses.inpo_step),
        lambda g: 1 / (1 + 2 * g.beta),
    ),
)
"""Loops with a regularised equilibrium as their fixed point."""

RATE = 0.5
MULTIPLICATIVE = (
    Row("SPPO", lambda step, g: self_play(step, g, constant(0.0), RATE), ("sppo", losses.sppo_step)),
    Row("DNO", lambda step, g: self_play(step, g, constant(0.0), RATE), ("dno", losses.dno_step)),
    Row("SPO", lambda step, g: self_play(step, g, constant(0.0), RATE), ("rebel", losses.rebel_step)),
)
"""Multiplicative weights: their mean comes to the equilibrium, the last policy where one answer beats all."""


def play(row: Row, of: Game, rounds: int = ROUNDS) -> list[Tensor]:
    """Returns the policies of a loop by its formula, the reference first."""
    return list(islice(row.play(exact_step, of), rounds + 1))


def difference(row: Row, of: Game, rounds: int = COMPARED) -> float:
    """Returns how far the loop by the package's loss is from the formula's at most, in probability."""
    both = zip(row.play(row.loss[1], of), row.play(exact_step, of), strict=True)
    return max((one.exp() - other.exp()).abs().max().item() for one, other in islice(both, rounds + 1))


def fitted_rate(distances: Sequence[float]) -> float:
    """Returns the factor per round of a sequence over the last half of what is above rounding."""
    return math.exp(_slope(distances, lambda k: float(k)))


def fitted_power(distances: Sequence[float]) -> float:
    """Returns ``a`` of a sequence that falls as ``1 / round^a``, over the same rounds."""
    return -_slope(distances, lambda k: math.log(k + 1))


def _slope(distances: Sequence[float], x_of: Callable[[int], float]) -> float:
    """Returns the least-squares slope of the distances' logarithm."""
    above = next((k for k, x in enumerate(distances) if x < FLOOR), len(distances))
    chosen = range(above // 2, above)
    xs = torch.tensor([x_of(k) for k in chosen], dtype=torch.float64)
    ys = torch.tensor([math.log(distances[k]) for k in chosen], dtype=torch.float64)
    xs = xs - xs.mean()
    return ((xs * (ys - ys.mean())).sum() / (xs * xs).sum()).item()
