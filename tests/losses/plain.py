"""The formulas once more, on Python floats and from the papers: what the catalogue's functions must equal.

A loss without an entry here fails the battery. ``settings`` are the hyperparameters that the battery tries.
"""

import math
from dataclasses import dataclass
from typing import Any


def log_sigmoid(u):
    """``log(1 / (1 + exp(-u)))`` on whichever side does not overflow."""
    return -math.log1p(math.exp(-u)) if u >= 0 else u - math.log1p(math.exp(u))


@dataclass(frozen=True)
class Plain:
    """A formula of the margin, or of ``(chosen, rejected)`` log-probabilities, and what to try it with."""

    formula: Any
    settings: tuple[dict, ...]


def _squared(m, beta, relative):
    distance = m - 1 / (2 * beta)
    return (beta * distance) ** 2 if relative else distance**2


def _mapo(chosen, rejected, k, temperature, weight):
    link = lambda x: x / math.expm1(x) if x else 1.0
    e_w, e_l = -2 * chosen, -2 * rejected
    return e_w - weight * log_sigmoid(temperature * (link(k * e_w) - link(k * e_l)))


PLAIN = {
    "logistic": Plain(
        lambda m, beta, flip: -(1 - flip) * log_sigmoid(beta * m) - flip * log_sigmoid(-beta * m),
        ({"beta": 0.1}, {"beta": 5000.0}, {"beta": 1.0, "flip": 0.1}, {"beta": 2000.0, "flip": 0.45}),
    ),
    "robust": Plain(
        # The form of Chowdhury et al. after cancelling: the clean loss and a straight line.
        lambda m, beta, flip: -log_sigmoid(beta * m) - flip / (1 - 2 * flip) * beta * m,
        ({"beta": 0.1, "flip": 0.0}, {"beta": 5000.0, "flip": 0.1}, {"beta": 1.0, "flip": 0.4}),
    ),
    "squared": Plain(
        _squared, ({"beta": 0.1}, {"beta": 5000.0}, {"beta": 0.1, "relative": True}, {"beta": 5000.0, "relative": True})
    ),
    "hinge": Plain(lambda m, beta: max(0.0, 1 - beta * m), ({"beta": 0.05}, {"beta": 5000.0})),
    "sft": Plain(lambda chosen, rejected, scale: -scale * chosen, ({}, {"scale": 2.0})),
    "mapo": Plain(_mapo, ({}, {"k": 2.0, "temperature": 3.0, "weight": 1.0})),
}
