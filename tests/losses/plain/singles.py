"""The formulas of losses on single examples."""

import math

from tests.losses.plain.table import Plain, log_sigmoid

TABLE = {
    "identity": (lambda u: u, -math.inf, None),
    "pearson": (lambda u: u - u**2 / 4, -math.inf, None),
    "hellinger": (lambda u: u / (1 + u), -0.9, 1 / 0.1**2),
    "forward_kl": (lambda u: 1 - math.exp(-u), -20.0, math.exp(20.0)),
    "js": (lambda u: math.log(2 - math.exp(-u)), -0.6, math.exp(0.6) / (2 - math.exp(0.6))),
}


def worth(u, phi):
    """phi of the table; below its edge the tangent there."""
    curve, edge, slope = TABLE[phi]
    return curve(u) if u >= edge else curve(edge) + slope * (u - edge)


def _bco(e, beta):
    u = beta * (e.chosen - e.reference_chosen) - beta * e.baseline
    return -log_sigmoid(u) if e.desirable else -log_sigmoid(-u)


def _npo(e, beta, retain, separate_means):
    share = (e.desirable_share if e.desirable else 1 - e.desirable_share) if separate_means else 1.0
    if e.desirable:
        return -retain * e.chosen / e.chosen_tokens / share
    return -(2 / beta) * log_sigmoid(-beta * (e.chosen - e.reference_chosen)) / share


def _f_sft(e, beta, phi):
    return -worth(beta * (e.chosen - e.reference_chosen), phi)


def _f_sft_tokens(e, beta, phi):
    parts = e.parts["chosen"]
    pairs = zip(parts.policy, parts.reference, strict=True)
    return -sum(worth(beta * (a - b), phi) for a, b in pairs) / e.chosen_tokens


PHIS = tuple({"beta": 0.3, "phi": phi} for phi in TABLE)

SINGLES = {
    "bco": Plain(_bco, ({"beta": 0.1}, {"beta": 5000.0})),
    "npo": Plain(
        _npo,
        (
            {"beta": 0.1},
            {"beta": 5.0, "retain": 0.5},
            {"beta": 0.5, "retain": 2.0},
            {"beta": 0.1, "separate_means": True},
        ),
    ),
    "f_sft": Plain(_f_sft, ({"beta": 0.1}, {"beta": 5000.0}, *PHIS)),
    "f_sft_tokens": Plain(_f_sft_tokens, ({"beta": 0.1}, *PHIS)),
}
