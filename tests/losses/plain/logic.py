"""Structures by brute force: every world is visited, weighed by ordinary multiplication, and put where Python's own
``and`` and ``or`` say that it counts."""

import math
from itertools import product

from tests.losses.plain.table import Plain, log_sigmoid

# What a setting of the catalogue's loss means: which worlds count for it and which against it. In them the chosen
# answer (w) and the rejected one (r) are valid or not.
SIDES = {
    "cCPO": (lambda w, r: w, lambda w, r: r and not w),
    "ORPO": (lambda w, r: w and not r, lambda w, r: r and not w),
    "unCPO": (lambda w, r: w or not r, lambda w, r: r and not w),
    "CEUnl": (lambda w, r: w and not r, lambda w, r: not w or r),
    "cUnl": (lambda w, r: w and not r, lambda w, r: r),
    "M_l -> M_w given not (M_w and M_l)": (lambda w, r: not r, lambda w, r: r and not w),
    "11,10 / 01,00,11": (lambda w, r: w, lambda w, r: not w or r),
    "(R_w and M_l) -> M_w given R_w or R_l": (
        lambda w, r, rw, rl: (not (rw and r) or w) and (rw or rl),
        lambda w, r, rw, rl: rw and r and not w,
    ),
}


def _weight(logps, counts):
    """The weight of the worlds that count: of each proposition ``p`` or ``1 - p``."""
    terms = []
    for world in product((True, False), repeat=len(logps)):
        if counts(*world):
            terms.append(
                math.prod(math.exp(a) if true else -math.expm1(a) for a, true in zip(logps, world, strict=True))
            )
    return math.fsum(terms)


def _linked(rho, beta, link):
    if link == "hinge":
        return max(0.0, 1 - beta * rho)
    return (rho - 1 / (2 * beta)) ** 2 if link == "squared" else -log_sigmoid(beta * rho)


def _sides(form, top, bottom):
    return SIDES[form or f"{top} / {bottom}"]


def _structure(e, beta, form, top, bottom, link, per_token):
    counts_for, counts_against = _sides(form, top, bottom)
    logps = e.means(per_token)
    return _linked(math.log(_weight(logps, counts_for) / _weight(logps, counts_against)), beta, link)


def _structure_reference(e, beta, form, top, bottom, link, per_token):
    counts_for, counts_against = _sides(form, top, bottom)
    n_w, n_l = (e.chosen_tokens, e.rejected_tokens) if per_token else (1, 1)
    logps, references = e.means(per_token), (e.reference_chosen / n_w, e.reference_rejected / n_l)
    if counts_for.__code__.co_argcount == 4:
        every = (*logps, *references)
        return _linked(math.log(_weight(every, counts_for) / _weight(every, counts_against)), beta, link)
    rho = math.log(_weight(logps, counts_for) / _weight(logps, counts_against)) - (references[0] - references[1])
    return _linked(rho, beta, link)


LOGIC = {
    "structure": Plain(
        _structure,
        (
            {"form": "cCPO"},
            {"form": "ORPO", "beta": 2.0},
            {"form": "unCPO"},
            {"form": "CEUnl", "beta": 0.5, "link": "hinge"},
            {"form": "CEUnl", "per_token": False},
            {"form": "M_l -> M_w given not (M_w and M_l)", "beta": 0.1, "link": "squared"},
            {"top": "11,10", "bottom": "01,00,11"},
        ),
        below=-0.02,
    ),
    "structure_reference": Plain(
        _structure_reference,
        (
            {"form": "cCPO"},
            {"form": "cUnl", "beta": 0.5, "link": "squared"},
            {"form": "ORPO", "beta": 2.0, "per_token": False},
            {"form": "(R_w and M_l) -> M_w given R_w or R_l"},
        ),
        below=-0.02,
    ),
}
