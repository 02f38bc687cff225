"""Ranking, displacement and calibration on numbers worked out by hand, and the laws that they obey."""

import math

import pytest
import torch
import torch.nn.functional as F

from diffalign.losses.diagnostics.calibration import best_factor, calibration, likelihood
from diffalign.losses.diagnostics.monitors import dispersion, displacement, gradient_weight, token_ratio
from diffalign.losses.diagnostics.ranking import (
    flip_threshold,
    flips,
    ideal_margin,
    ideal_squared_margin,
    ranks_right,
    rater_shares,
)
from diffalign.losses.pairs.ipo import ipo
from diffalign.losses.pairs.logistic import logistic


def t(*values):
    return torch.tensor(values, dtype=torch.float64)


def digits(value, places=6):
    return pytest.approx(value, abs=0.5 * 10**-places)


# policy -12 and -15, reference -13 and -14.5, beta 0.1
W, L, REF_W, REF_L = t(-12.0), t(-15.0), t(-13.0), t(-14.5)


def test_ranking_of_the_worked_pair_depends_on_the_length():
    assert ranks_right(W, L).item() and not ranks_right(W / 6, L / 10).item()
    assert ranks_right(W, W).item(), "a tie counts as right"


def test_the_ideal_policy_ranks_as_worked_out():
    score = (REF_W - REF_L) + ideal_margin(rater_shares(t(1.0)), beta=0.1)
    assert score.item() == digits(12.486123)
    wrong, share = t(-20.0) - t(-14.5), t(0.6)
    assert (wrong + ideal_margin(share, beta=0.1)).item() == digits(-1.445349)
    assert (wrong + ideal_margin(share, beta=0.05)).item() == digits(2.609302)


def test_thresholds_of_the_worked_pairs():
    def loss(margin):
        return logistic(margin, beta=0.1)

    found = flip_threshold(t(-1.5, 5.5, 50.0), loss)
    assert found.tolist() == [digits(0.770957), digits(0.455492), digits(0.006715)]
    assert loss((W - L) - (REF_W - REF_L)).item() == digits(0.620957)


@pytest.mark.parametrize("beta", [0.01, 0.1, 2.0])
def test_a_pair_is_ranked_right_exactly_where_its_loss_is_below_the_threshold(beta):
    make = torch.Generator().manual_seed(3)
    w, l, ref_w, ref_l = 20 * torch.randn(4, 2000, generator=make, dtype=torch.float64)  # noqa: E741
    loss = logistic((w - l) - (ref_w - ref_l), beta=beta)
    threshold = flip_threshold(ref_l - ref_w, lambda m: logistic(m, beta=beta))
    clear = (w - l).abs() > 1e-3 / beta
    clear &= (loss - threshold).abs() > 1e-9  # far out both losses are zero to the last digit
    assert clear.sum() > 1000
    assert torch.equal((loss <= threshold)[clear], ranks_right(w, l)[clear])


def test_a_squared_loss_promises_the_order_only_within_its_target():
    beta, c = 0.5, t(-2.0, 0.5, 1.5)
    found = flip_threshold(c, lambda m: ipo(m, beta=beta), optimum=1.0)
    assert found[:2].tolist() == [9.0, 0.25] and math.isnan(found[2])
    margin = t(*(k / 50 for k in range(-300, 300)))
    kept = ipo(margin, beta=beta) <= found[1]
    assert bool((margin[kept] >= c[1] - 1e-12).all()), "a loss below the threshold is a right ranking"
    zero = margin[ipo(margin, beta=beta).argmin()]
    assert zero < c[2], "beyond the target a loss of zero is a wrong one"


def test_the_squared_optimum_is_where_the_expected_loss_is_least():
    beta, share = 0.2, 0.7
    margin = torch.linspace(-5, 5, 20001, dtype=torch.float64)
    expected = share * ipo(margin, beta=beta) + (1 - share) * ipo(-margin, beta=beta)
    best = ideal_squared_margin(t(share), target=0.5 / beta).item()
    assert margin[expected.argmin()].item() == pytest.approx(best, abs=1e-3)


def test_a_larger_beta_never_makes_the_ideal_better_where_the_reference_is_wrong():
    gaps, share = -torch.linspace(0.1, 50, 200, dtype=torch.float64), torch.full((200,), 0.7, dtype=torch.float64)
    rates = [float((gaps + ideal_margin(share, beta=b) > 0).double().mean()) for b in (0.01, 0.1, 1.0, 5.0, 10.0)]
    assert rates == sorted(rates, reverse=True) and rates[0] > rates[-1]


def test_rater_shares_are_assumed_for_plain_votes_only():
    assert rater_shares(t(1.0, 0.0, 1.0)).tolist() == [0.75, 0.25, 0.75]
    assert rater_shares(t(1.0, 0.6, 0.0)).tolist() == [0.999, 0.6, pytest.approx(0.001)]


def test_the_table_of_flips_adds_up():
    reference, policy = (torch.tensor(x, dtype=torch.bool) for x in ([1, 1, 0, 0, 0], [1, 0, 1, 1, 0]))
    found = flips(reference, policy)
    assert (found.both, found.gained, found.lost, found.neither) == (0.2, 0.4, 0.2, 0.2)
    assert found.flipped == pytest.approx(2 / 3)
    assert math.isnan(flips(torch.tensor([True]), torch.tensor([True])).flipped)


def test_the_worked_pair_is_monitored():
    found = displacement(t(1.0), t(-0.5))
    assert (found.gain, found.drop, found.margin) == (1.0, 0.5, 1.5) and found.suppression == pytest.approx(1 / 3)
    assert gradient_weight(t(1.5), beta=0.1).item() == digits(0.1 * 0.462570, 7)
    assert token_ratio(W, L, t(1.0), t(1.0)).item() == digits(20.085537)
    assert token_ratio(W, L, t(8.0), t(12.0)).item() == pytest.approx(math.exp(-0.25))
    assert math.isnan(displacement(t(-1.0), t(-0.5)).suppression)
    assert math.isfinite(token_ratio(t(1e4), t(-1e4), t(1.0), t(1.0)).item())


def test_the_gradient_weight_is_the_slope_of_the_logistic_loss():
    margin = t(-3.0, 0.0, 1.5).requires_grad_()
    logistic(margin, beta=0.3).sum().backward()
    assert torch.allclose(gradient_weight(margin.detach(), beta=0.3), -margin.grad)


def test_a_step_can_raise_the_margin_and_lower_the_chosen_answer():
    words, state = t(1.0, 0.0, 0.9, 0.2, 2.0, -2.0).view(3, 2), t(1.0, 0.5)
    before, after = (F.log_softmax(words @ h, 0) for h in (state, state + t(0.1, -0.2)))
    assert before.tolist() == [digits(-1.098612)] * 3
    assert after.tolist() == [digits(-1.280920), digits(-1.330920), digits(-0.780920)]
    found = displacement((after - before)[:1], (after - before)[1:2])
    assert (found.gain, found.margin) == (digits(-0.182308), pytest.approx(0.05))
    assert found.suppression > 1


@pytest.mark.parametrize(
    ("step", "expected"), [(100, (0.035483, 0.010558, 0.953959)), (1000, (0.000010, 0.0, 0.999990))]
)
def test_one_shared_parameter_shows_drop_suppression_and_dispersion(step, expected):
    """Ten answers with the logits theta f: 0.5 for the chosen, 1 for the rejected, 0 for the others."""
    f, theta = t(0.5, 1.0, *[0.0] * 8), t(0.0).requires_grad_()
    start = F.log_softmax(theta.detach() * f, 0)
    for _ in range(step):
        ratio = F.log_softmax(theta * f, 0) - start
        (slope,) = torch.autograd.grad(logistic((ratio[0] - ratio[1]).view(1), beta=0.1).sum(), theta)
        theta = (theta - slope).detach().requires_grad_()
    logp = F.log_softmax(theta.detach() * f, 0)
    p, ratio = logp.exp(), logp - start
    assert (p[0].item(), p[1].item(), p[2:].sum().item()) == tuple(map(digits, expected))
    found = displacement(ratio[:1], ratio[1:2])
    assert found.gain < 0 < found.margin and found.suppression > 1
    others = dispersion(ratio[2:])
    assert others.rise > 0 and others.mean == pytest.approx(others.rise)
    assert float((start.exp() * ratio.exp()).sum()) == pytest.approx(1.0), "what is lost is found elsewhere"


def test_dispersion_over_everything_is_zero():
    reference = torch.log_softmax(torch.randn(50, generator=torch.Generator().manual_seed(0), dtype=torch.float64), 0)
    policy = torch.log_softmax(reference.flip(0) * 0.7, 0)
    drawn = torch.multinomial(reference.exp(), 200_000, True, generator=torch.Generator().manual_seed(1))
    found = dispersion((policy - reference)[drawn])
    assert abs(found.rise) < 0.02 and found.mean < found.rise


def test_calibration_of_the_worked_margins():
    margin, labels = t(2, 1, 0.5, -0.5, 1.5), t(1, 1, 0, 1, 0)
    found = calibration(margin, labels)
    assert found.nll == digits(0.817951) and found.fitted == digits(0.689915)
    assert found.factor == pytest.approx(0.130, abs=5e-4)
    grid = min(range(1, 2001), key=lambda k: likelihood(k / 1000 * margin, labels))
    assert grid == 130 and torch.equal(torch.sign(found.factor * margin), torch.sign(margin))


def test_true_probabilities_are_calibrated_and_overconfident_ones_are_found_out():
    make = torch.Generator().manual_seed(2)
    margin = 2 * torch.randn(20_000, generator=make, dtype=torch.float64)
    outcome = (torch.rand(20_000, generator=make, dtype=torch.float64) < torch.sigmoid(margin)).double()
    honest, loud = calibration(margin, outcome), calibration(4 * margin, outcome)
    assert honest.error < 0.015 and honest.factor == pytest.approx(1, abs=0.05)
    assert loud.error > 0.1 and loud.factor == pytest.approx(0.25, abs=0.02)


def test_an_uninformative_model_has_the_brier_score_of_a_coin():
    found = calibration(t(0, 0, 0), t(1, 1, 0))
    assert math.isnan(found.factor)
    assert (found.error, found.brier, found.nll) == (0.0, 0.25, pytest.approx(math.log(2)))
    assert best_factor(t(1.0, 2.0), t(1.0, 1.0)) > 900, "all right: no factor is too large"
