"""Numbers with an origin, to every printed digit."""

import math

import pytest
import torch

from diffalign.losses import LOSSES
from tests.losses.scores import from_errors, from_logps, from_margins

# Diffusion-DPO with excess errors d = e_policy - e_reference: u = -(beta / 2)(d_w - d_l), loss = softplus(-u), by hand.
DENOISER = [
    (5000.0, -0.001, 0.002, 7.5, "5.529315e-04"),
    (2000.0, -0.001, 0.002, 3.0, "4.85873516e-02"),
    (5000.0, 0.001, -0.002, -7.5, "7.500552931e+00"),
]


@pytest.mark.parametrize("beta, d_w, d_l, u, printed", DENOISER)
def test_denoiser_errors_give_the_published_convention(beta, d_w, d_l, u, printed):
    scores = from_errors([0.1 + d_w], [0.3 + d_l], [0.1], [0.3])
    assert beta * scores.margin.item() == pytest.approx(u, rel=1e-12)
    digits = len(printed.split("e")[0]) - 2
    assert f"{LOSSES['logistic'].bind(beta=beta)(scores).item():.{digits}e}" == printed


# One language pair: log-probabilities -12 and -15, reference -13 and -14.5, so the margin is 1.5.
LANGUAGE = [
    ("logistic", {"beta": 0.1}, "0.620957"),
    ("logistic", {"beta": 0.1, "flip": 0.1}, "0.635957"),
    ("robust", {"beta": 0.1, "flip": 0.1}, "0.602207"),
    ("hinge", {"beta": 0.05}, "0.925000"),
    ("squared", {"beta": 0.1}, "12.250000"),
]


@pytest.mark.parametrize("name, hyper, printed", LANGUAGE)
def test_token_log_probabilities_give_the_known_losses(name, hyper, printed):
    scores = from_logps([-12.0], [-15.0], [-13.0], [-14.5])
    assert scores.margin.item() == 1.5
    assert f"{LOSSES[name].bind(**hyper)(scores).item():.6f}" == printed


# Losses at u = 0, 0.5, 1, 7.5, -7.5 for beta = 1, six decimals.
CURVES = {
    ("logistic", ()): [0.693147, 0.474077, 0.313262, 0.000553, 7.500553],
    ("hinge", ()): [1.0, 0.5, 0.0, 0.0, 8.5],
    ("squared", (("relative", True),)): [0.25, 0.0, 0.25, 49.0, 64.0],
    ("logistic", (("flip", 0.1),)): [0.693147, 0.524077, 0.413262, 0.750553, 6.750553],
    ("robust", (("flip", 0.1),)): [0.693147, 0.411577, 0.188262, -0.936947, 8.438053],
}


@pytest.mark.parametrize("name, extra", CURVES)
def test_the_curves_pass_through_their_known_points(name, extra):
    loss = LOSSES[name].bind(beta=1.0, **dict(extra))
    found = loss(from_margins([0.0, 0.5, 1.0, 7.5, -7.5]))
    torch.testing.assert_close(found, torch.tensor(CURVES[name, extra], dtype=torch.float64), rtol=0, atol=5.001e-7)


def test_at_the_start_the_gradient_by_an_error_is_a_quarter_beta():
    e_w, e_l = (torch.tensor([0.4], dtype=torch.float64, requires_grad=True) for _ in range(2))
    loss = LOSSES["logistic"].bind(beta=5000.0)(from_errors(e_w, e_l, [0.4], [0.4]))
    loss.sum().backward()
    assert loss.item() == pytest.approx(0.6931471805599453, abs=1e-16)
    assert e_w.grad.item() == pytest.approx(1250.0, rel=1e-14)
    assert e_l.grad.item() == pytest.approx(-1250.0, rel=1e-14)


def test_the_gradient_of_a_two_parameter_model_is_half_beta_times_the_lost_share_times_the_error_gap():
    # A denoiser k0 x + k1 against the noise, on a chosen and a rejected latent; beta as published, u not small.
    x = torch.tensor([[0.3, -1.0, 0.8], [1.1, 0.2, -0.5]], dtype=torch.float64)
    noise = torch.tensor([0.5, -0.2, 0.9], dtype=torch.float64)
    beta, reference = 2000.0, torch.tensor([0.601, 0.099], dtype=torch.float64)

    def errors(k):
        return ((k[0] * x + k[1] - noise) ** 2).mean(1)

    def loss(k):
        e, e_ref = errors(k), errors(reference)
        return LOSSES["logistic"].bind(beta=beta)(from_errors(e[:1], e[1:], e_ref[:1], e_ref[1:])).sum()

    k = torch.tensor([0.6, 0.1], dtype=torch.float64, requires_grad=True)
    (found,) = torch.autograd.grad(loss(k), k)
    gap = errors(k)[0] - errors(k)[1]
    (gap_slope,) = torch.autograd.grad(gap, k)
    gap_ref = errors(reference)[0] - errors(reference)[1]
    u = -beta / 2 * (gap - gap_ref).item()
    assert 0.1 < abs(u) < 10
    torch.testing.assert_close(found, beta / 2 * (1 - 1 / (1 + math.exp(-u))) * gap_slope, rtol=1e-12, atol=0)
    for i in range(2):
        step = torch.zeros(2, dtype=torch.float64)
        step[i] = 1e-7
        slope = (loss(k.detach() + step) - loss(k.detach() - step)) / 2e-7
        assert found[i].item() == pytest.approx(slope.item(), rel=1e-5)


def test_identical_candidates_have_no_margin_whatever_the_policy_says():
    assert from_errors([0.7], [0.7], [0.2], [0.2]).margin.item() == 0.0


def test_the_robust_loss_is_unbiased_under_its_noise():
    clean, corrected = LOSSES["logistic"].bind(beta=3.0), LOSSES["robust"].bind(beta=3.0, flip=0.2)
    scores = from_margins([-2.0, -0.1, 0.0, 0.4, 5.0])
    mixed = 0.8 * corrected(scores) + 0.2 * corrected(scores.swapped())
    torch.testing.assert_close(mixed, clean(scores), rtol=1e-13, atol=1e-15)


def test_the_two_noisy_losses_are_the_clean_one_and_a_line():
    scores = from_margins([-2.0, -0.1, 0.0, 0.4, 5.0])
    clean = LOSSES["logistic"].bind(beta=3.0)(scores)
    u = 3.0 * scores.margin
    torch.testing.assert_close(LOSSES["logistic"].bind(beta=3.0, flip=0.2)(scores), clean + 0.2 * u)
    torch.testing.assert_close(LOSSES["robust"].bind(beta=3.0, flip=0.2)(scores), clean - 0.2 / 0.6 * u)


def test_saturation_of_the_logistic_loss_is_twice_the_lost_share():
    scores = from_margins([-1.0, 0.0, 0.5, 40.0])
    found = LOSSES["logistic"].bind(beta=2.0).saturation(scores)
    torch.testing.assert_close(found, 2 * torch.sigmoid(-2.0 * scores.margin))
