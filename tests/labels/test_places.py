"""Inside, outside, soft: three places of a weight that agree to first order and are three different losses."""

import math

import pytest
import torch

from diffalign.labels import expected
from diffalign.losses import LOSSES
from tests.labels.rows import label
from tests.losses.logps import from_errors, from_margins

LOGISTIC = LOSSES["logistic"].bind(beta=1.0)
PLACES = {"inside": {"scale": 0.6}, "outside": {"weight": 0.6}, "soft": {"probability": 0.8}}
"""With 0.6 = 2 * 0.8 - 1: the three that are most alike."""


def _slope(u, **given):
    leaf = torch.tensor([u], dtype=torch.float64, requires_grad=True)
    return torch.autograd.grad(expected(LOGISTIC, from_margins(leaf), label(count=1, **given)).sum(), leaf)[0].item()


@pytest.mark.parametrize("w", [0.15, 1.0, 4.6212])
def test_the_slopes_at_margin_zero_are_those_of_each_place(w):
    assert _slope(0.0, scale=w) == pytest.approx(-w / 2, rel=1e-15)
    assert _slope(0.0, weight=w) == pytest.approx(-w / 2, rel=1e-15)


@pytest.mark.parametrize("p", [0.5, 0.8, 1.0])
def test_the_slope_of_a_soft_label_at_margin_zero_is_its_lead_over_one_half(p):
    assert _slope(0.0, probability=p) == pytest.approx(-(p - 0.5), abs=1e-16)


def test_a_scale_of_gamma_times_the_lead_starts_gamma_times_as_steep_as_the_soft_label():
    gamma, p = 10.0, 0.53
    assert _slope(0.0, scale=gamma * (2 * p - 1)) == pytest.approx(gamma * _slope(0.0, probability=p), rel=1e-13)


@pytest.mark.parametrize("u", [-3.0, 0.7, 2.0])
def test_away_from_zero_the_three_are_three_curves(u):
    sigmoid = lambda x: 1 / (1 + math.exp(-x))
    by_hand = {"inside": -0.6 * sigmoid(-0.6 * u), "outside": -0.6 * sigmoid(-u), "soft": sigmoid(u) - 0.8}
    found = {place: _slope(u, **given) for place, given in PLACES.items()}
    assert found == pytest.approx(by_hand, rel=1e-14)
    assert min(abs(a - b) for a in found.values() for b in found.values() if a != b) > 1e-3


def test_a_soft_label_is_least_at_its_logit_and_a_scaled_or_weighted_pair_nowhere():
    best = math.log(0.8 / 0.2)
    assert _slope(best, **PLACES["soft"]) == pytest.approx(0.0, abs=1e-15)
    assert _slope(best - 0.05, **PLACES["soft"]) < 0 < _slope(best + 0.05, **PLACES["soft"])
    for place in ("inside", "outside"):
        assert all(_slope(u, **PLACES[place]) < 0 for u in (best, 10.0, 30.0))


def test_a_scaled_pair_gives_the_published_number():
    # Raw scores 0.22 and 0.20 at gamma 10, beta 2000; excess errors -0.001 and 0.002.
    batch = from_errors([0.099], [0.302], [0.1], [0.3])
    loss = LOSSES["logistic"].bind(beta=2000.0)
    assert expected(loss, batch, label(scale=[0.5995904742])).item() == pytest.approx(0.1531519774, abs=1e-9)


def test_the_gradient_of_a_scaled_pair_is_linear_in_its_scale():
    # (beta / 2) w (1 - s(u)) by the chosen error, and minus that by the rejected one.
    beta, w = 2000.0, 0.6
    e_w, e_l = (torch.tensor([e], dtype=torch.float64, requires_grad=True) for e in (0.099, 0.302))
    expected(LOSSES["logistic"].bind(beta=beta), from_errors(e_w, e_l, [0.1], [0.3]), label(scale=[w])).sum().backward()
    u = beta / 2 * w * 0.003
    assert e_w.grad.item() == pytest.approx(beta / 2 * w / (1 + math.exp(u)), rel=1e-12)
    assert e_l.grad.item() == pytest.approx(-e_w.grad.item(), rel=1e-12)
