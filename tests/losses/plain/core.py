"""The formulas of the first losses."""

import math

from tests.losses.plain.table import Plain, log_sigmoid


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
    gain = beta * (e.chosen - e.reference_chosen - e.baseline)
    won = lambda z: math.exp(log_sigmoid(z))
    return desirable_weight * (1 - won(gain)) if e.desirable else undesirable_weight * (1 - won(-gain))


CORE = {
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
    "ipo": Plain(
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
        _kto,
        (
            {"beta": 0.1},
            {"beta": 5000.0},
            {"beta": 0.5, "desirable_weight": 0.5, "undesirable_weight": 2.0},
            {"beta": 0.1, "desirable_weight": 1.33, "undesirable_weight": 0.7},
        ),
    ),
    "sft": Plain(lambda e, scale, per_token: -scale * e.means(per_token)[0], ({}, {"scale": 2.0, "per_token": False})),
    "mapo": Plain(_mapo, ({}, {"k": 2.0, "temperature": 3.0, "weight": 1.0})),
}
