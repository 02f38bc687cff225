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
class Example:
    """Everything that a loss may read of one example."""

    chosen: float
    rejected: float = 0.0
    reference_chosen: float = 0.0
    reference_rejected: float = 0.0
    chosen_tokens: int = 1
    rejected_tokens: int = 1
    desirable: bool = True
    point: float = 0.0

    def margin(self, per_token):
        n_w, n_l = (self.chosen_tokens, self.rejected_tokens) if per_token else (1, 1)
        return (self.chosen - self.reference_chosen) / n_w - (self.rejected - self.reference_rejected) / n_l

    def means(self, per_token):
        n_w, n_l = (self.chosen_tokens, self.rejected_tokens) if per_token else (1, 1)
        return self.chosen / n_w, self.rejected / n_l


@dataclass(frozen=True)
class Plain:
    """A formula of the margin, or of an :class:`Example`, and what to try it with. ``below``: log-probabilities below
    this, where it is said; a probability is at most 1."""

    formula: Any
    settings: tuple[dict, ...]
    below: float | None = None


def value(loss, example):
    """What a bound loss must say of one example."""
    formula, hyper = PLAIN[loss.name].formula, dict(loss.hyper)
    if loss.loss.takes == "scores":
        return formula(example, **hyper)
    return formula(example.margin(hyper.pop("per_token")), **hyper)


def _squared(m, beta, relative):
    distance = m - 1 / (2 * beta)
    return (beta * distance) ** 2 if relative else distance**2


def _mapo(e, k, temperature, weight):
    link = lambda x: x / math.expm1(x) if x else 1.0
    e_w, e_l = -2 * e.chosen, -2 * e.rejected
    return e_w - weight * log_sigmoid(temperature * (link(k * e_w) - link(k * e_l)))


def _simpo(e, beta, gamma_beta_ratio, per_token):
    a_w, a_l = e.means(per_token)
    return -log_sigmoid(beta * (a_w - a_l) - beta * gamma_beta_ratio)


def _orpo(e, weight, per_token):
    a_w, a_l = e.means(per_token)
    odds = lambda a: math.exp(a) / -math.expm1(a)
    return -a_w - weight * log_sigmoid(math.log(odds(a_w) / odds(a_l)))


def _rpo(e, beta, eta, average):
    return -log_sigmoid(beta * e.margin(False)) - eta * beta * e.chosen - average * e.chosen / e.chosen_tokens


def _kto(e, beta, desirable_weight, undesirable_weight):
    gain = beta * (e.chosen - e.reference_chosen - e.point)
    won = lambda z: math.exp(log_sigmoid(z))
    return desirable_weight * (1 - won(gain)) if e.desirable else undesirable_weight * (1 - won(-gain))


PLAIN = {
    "logistic": Plain(
        lambda m, beta, flip: -(1 - flip) * log_sigmoid(beta * m) - flip * log_sigmoid(-beta * m),
        (
            {"beta": 0.1},
            {"beta": 5000.0},
            {"beta": 1.0, "flip": 0.1},
            {"beta": 2000.0, "flip": 0.45},
            {"beta": 1.0, "per_token": True},
        ),
    ),
    "robust": Plain(
        # The form of Chowdhury et al. after cancelling: the clean loss and a straight line.
        lambda m, beta, flip: -log_sigmoid(beta * m) - flip / (1 - 2 * flip) * beta * m,
        ({"beta": 0.1, "flip": 0.0}, {"beta": 5000.0, "flip": 0.1}, {"beta": 1.0, "flip": 0.4}),
    ),
    "squared": Plain(
        _squared,
        (
            {"beta": 0.1},
            {"beta": 0.1, "per_token": False},
            {"beta": 5000.0},
            {"beta": 0.1, "relative": True},
            {"beta": 5000.0, "relative": True},
        ),
    ),
    "hinge": Plain(lambda m, beta: max(0.0, 1 - beta * m), ({"beta": 0.05}, {"beta": 5000.0})),
    "simpo": Plain(
        _simpo, ({}, {"beta": 10.0, "gamma_beta_ratio": 0.0}, {"gamma_beta_ratio": 1.0, "per_token": False})
    ),
    "rpo": Plain(_rpo, ({"beta": 0.1}, {"beta": 0.5, "eta": 0.0, "average": 0.2}, {"beta": 2000.0, "eta": 0.005})),
    "orpo": Plain(_orpo, ({}, {"weight": 2.0}, {"weight": 1.0, "per_token": False}), below=-1e-3),
    "kto": Plain(
        _kto, ({"beta": 0.1}, {"beta": 5000.0}, {"beta": 0.5, "desirable_weight": 0.5, "undesirable_weight": 2.0})
    ),
    "sft": Plain(lambda e, scale, per_token: -scale * e.means(per_token)[0], ({}, {"scale": 2.0, "per_token": False})),
    "mapo": Plain(_mapo, ({}, {"k": 2.0, "temperature": 3.0, "weight": 1.0})),
}
