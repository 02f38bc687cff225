"""Numbers with an origin, to every printed digit."""

import math
from dataclasses import replace

import pytest
import torch

from diffalign.losses import LOSSES, CandidateLogps, PairLogps
from diffalign.losses.pairs.orpo import log_odds
from tests.losses.logps import from_errors, from_logps, from_margins

# Diffusion-DPO with excess errors d = e_policy - e_reference: u = -(beta / 2)(d_w - d_l), loss = softplus(-u), by hand.
DENOISER = [
    (5000.0, -0.001, 0.002, 7.5, "5.529315e-04"),
    (2000.0, -0.001, 0.002, 3.0, "4.85873516e-02"),
    (5000.0, 0.001, -0.002, -7.5, "7.500552931e+00"),
]


@pytest.mark.parametrize("beta, d_w, d_l, u, printed", DENOISER)
def test_denoiser_errors_give_the_published_convention(beta, d_w, d_l, u, printed):
    batch = from_errors([0.1 + d_w], [0.3 + d_l], [0.1], [0.3])
    assert beta * batch.margin.item() == pytest.approx(u, rel=1e-12)
    digits = len(printed.split("e")[0]) - 2
    assert f"{LOSSES['logistic'].bind(beta=beta)(batch).item():.{digits}e}" == printed


# One language pair of 6 and 10 tokens: log-probabilities -12 and -15, reference -13 and -14.5, so the margin is 1.5.
LANGUAGE = [
    ("logistic", {"beta": 0.1}, "0.620957"),
    ("logistic", {"beta": 0.1, "flip": 0.1}, "0.635957"),
    ("robust", {"beta": 0.1, "flip": 0.1}, "0.602207"),
    ("hinge", {"beta": 0.05}, "0.925000"),
    ("ipo", {"beta": 0.1, "per_token": False}, "12.250000"),
    ("simpo", {"beta": 2.0, "gamma_beta_ratio": 0.5}, "2.126928"),
    ("simpo", {"beta": 2.5, "gamma_beta_ratio": 0.55}, "2.694936"),
    ("rpo", {"beta": 0.1, "eta": 0.005}, "0.626957"),
    ("rpo", {"beta": 0.1, "eta": 0.0, "average": 0.2}, "1.020957"),
]


@pytest.mark.parametrize("name, hyper, printed", LANGUAGE)
def test_token_log_probabilities_give_the_known_losses(name, hyper, printed):
    batch = from_logps([-12.0], [-15.0], [-13.0], [-14.5], tokens=([6], [10]))
    assert batch.margin.item() == 1.5
    assert f"{LOSSES[name].bind(**hyper)(batch).item():.6f}" == printed


def test_ipo_sees_the_margin_of_means_as_its_authors_confirmed():
    batch = from_logps([-12.0], [-15.0], [-13.0], [-14.5], tokens=([6], [10]))
    margin = 1.0 / 6 + 0.5 / 10
    assert LOSSES["ipo"].bind(beta=0.1)(batch).item() == pytest.approx((margin - 5.0) ** 2, rel=1e-14)


def test_the_odds_ratio_of_a_known_pair():
    # Means -0.7 and -1.2: the log-odds differ by 0.827959, the odds' loss is 0.362516, with the likelihood 0.736252.
    batch = from_logps([-1.4], [-3.6], [0.0], [0.0], tokens=([2], [3]))
    means = torch.tensor([-0.7, -1.2], dtype=torch.float64)
    assert f"{-log_odds(means).diff().item():.6f}" == "0.827959"
    assert f"{LOSSES['orpo'].bind(weight=0.1)(batch).item():.6f}" == "0.736252"
    assert f"{LOSSES['orpo'].bind(weight=1.0)(batch).item() - 0.7:.6f}" == "0.362516"


def test_log_odds_are_precise_at_both_ends():
    a = torch.tensor([-1e-6, -0.69, -0.7, -40.0, -1e4], dtype=torch.float64, requires_grad=True)
    plain = [math.log(1e6) - 1.5e-6 + 1e-6 / 1e12, *(x - math.log1p(-math.exp(x)) for x in (-0.69, -0.7, -40.0, -1e4))]
    odds = log_odds(a)
    torch.testing.assert_close(odds, torch.tensor(plain, dtype=torch.float64), rtol=1e-7, atol=0)
    (slope,) = torch.autograd.grad(odds.sum(), a)
    torch.testing.assert_close(slope, -1 / torch.expm1(a.detach()), rtol=1e-9, atol=0)


def test_simpo_of_equal_lengths_is_the_logistic_loss_without_a_reference_at_beta_by_the_length():
    # Ten and fourteen nats over eight tokens at beta 2, no margin to win by: 0.313262.
    batch = from_logps([-10.0], [-14.0], [0.0], [0.0], tokens=([8], [8]))
    found = LOSSES["simpo"].bind(beta=2.0, gamma_beta_ratio=0.0)(batch).item()
    assert f"{found:.6f}" == "0.313262"
    assert found == pytest.approx(LOSSES["logistic"].bind(beta=0.25)(batch).item(), rel=1e-14)
    twice = from_logps([-20.0], [-14.0], [0.0], [0.0], tokens=([16], [8]))
    assert LOSSES["simpo"].bind()(twice).item() == LOSSES["simpo"].bind()(batch).item()


def test_rpo_is_the_logistic_loss_and_a_pull_that_does_not_end():
    batch = from_margins([-3.0, 0.0, 40.0])
    clean, pulled = LOSSES["logistic"].bind(beta=2.0), LOSSES["rpo"].bind(beta=2.0, eta=0.25)
    torch.testing.assert_close(pulled(batch) - clean(batch), -0.5 * batch.chosen.logps)
    leaf = batch.chosen.logps.clone().requires_grad_(True)
    (slope,) = torch.autograd.grad(pulled(replace(batch, chosen=CandidateLogps(leaf))).sum(), leaf)
    assert slope[2].item() == pytest.approx(-0.5) and slope[0] < slope[1] < slope[2]


def kto_of(logratios, desirable, point):
    chosen, zero = torch.tensor(logratios, dtype=torch.float64), torch.zeros(len(logratios), dtype=torch.float64)
    point = torch.tensor(point, dtype=torch.float64)
    return PairLogps(
        CandidateLogps(chosen), None, CandidateLogps(zero), desirable=torch.tensor(desirable), baseline=point
    )


def test_thumbs_cost_a_half_at_the_start_and_pull_with_a_quarter_beta():
    # Logratio 0, point 0: 1 - s(0) = 1/2, with slope -y beta s(0) (1 - s(0)).
    batch = kto_of([0.0, 0.0], [True, False], 0.0)
    loss = LOSSES["kto"].bind(beta=0.1)
    assert loss(batch).tolist() == [0.5, 0.5] and loss.at_zero == 0.5
    leaf = batch.chosen.logps.requires_grad_(True)
    (slope,) = torch.autograd.grad(loss(batch).sum(), leaf)
    assert slope.tolist() == pytest.approx([-0.025, 0.025])


def test_thumbs_up_and_down_mirror_each_other_around_the_point():
    loss = LOSSES["kto"].bind(beta=0.5)
    # By hand: 1 - s(0.5 (3 - 1)) = s(-1) = 0.268941, and 1 - s(-1) = 0.731059.
    assert [f"{x:.6f}" for x in loss(kto_of([3.0, 3.0], [True, False], 1.0)).tolist()] == ["0.268941", "0.731059"]
    one, other = loss(kto_of([1.7, 0.3], [True, False], 1.0)).tolist()
    assert one == pytest.approx(other, rel=1e-15)
    weighed = LOSSES["kto"].bind(beta=0.5, desirable_weight=2.0, undesirable_weight=0.5)
    assert weighed(kto_of([3.0, 3.0], [True, False], 1.0)).tolist() == pytest.approx([0.537883, 0.365529], abs=5e-7)
    assert weighed.at_zero is None


def test_thumbs_without_a_baseline_are_refused():
    with pytest.raises(ValueError, match="reference point, but there is none"):
        LOSSES["kto"].bind(beta=1.0)(PairLogps(CandidateLogps(torch.zeros(1)), None, CandidateLogps(torch.zeros(1))))


# Losses at u = 0, 0.5, 1, 7.5, -7.5 for beta = 1, six decimals.
CURVES = {
    ("logistic", ()): [0.693147, 0.474077, 0.313262, 0.000553, 7.500553],
    ("hinge", ()): [1.0, 0.5, 0.0, 0.0, 8.5],
    ("ipo", (("relative", True),)): [0.25, 0.0, 0.25, 49.0, 64.0],
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


def test_identical_candidates_have_margin_zero_under_every_policy():
    assert from_errors([0.7], [0.7], [0.2], [0.2]).margin.item() == 0.0


def test_the_robust_loss_is_unbiased_under_its_noise():
    clean, corrected = LOSSES["logistic"].bind(beta=3.0), LOSSES["robust"].bind(beta=3.0, flip=0.2)
    batch = from_margins([-2.0, -0.1, 0.0, 0.4, 5.0])
    mixed = 0.8 * corrected(batch) + 0.2 * corrected(batch.swapped())
    torch.testing.assert_close(mixed, clean(batch), rtol=1e-13, atol=1e-15)


def test_the_two_noisy_losses_are_the_clean_one_and_a_line():
    batch = from_margins([-2.0, -0.1, 0.0, 0.4, 5.0])
    clean = LOSSES["logistic"].bind(beta=3.0)(batch)
    u = 3.0 * batch.margin
    torch.testing.assert_close(LOSSES["logistic"].bind(beta=3.0, flip=0.2)(batch), clean + 0.2 * u)
    torch.testing.assert_close(LOSSES["robust"].bind(beta=3.0, flip=0.2)(batch), clean - 0.2 / 0.6 * u)


def test_saturation_of_the_logistic_loss_is_twice_the_lost_share():
    batch = from_margins([-1.0, 0.0, 0.5, 40.0])
    found = LOSSES["logistic"].bind(beta=2.0).saturation(batch)
    torch.testing.assert_close(found, 2 * torch.sigmoid(-2.0 * batch.margin))
