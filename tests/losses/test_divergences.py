"""f-DPO: what a divergence does to a logratio, whichever loss of a margin comes after it."""

import math
from dataclasses import replace

import pytest
import torch

from diffalign.losses import LOSSES
from diffalign.losses.divergences import DIVERGENCES, divergence_reward
from tests.losses.logps import drawn, from_logps, from_margins, with_tokens
from tests.losses.test_golden_pairs import known, slopes

# Of the logratios 1 and -0.5: both transformed, their difference, and the logistic loss at beta 0.1.
TABLE = [
    ("reverse_kl", 0.5, "1.000000", "-0.500000", "1.500000", "0.620957"),
    ("forward_kl", 0.5, "-0.367879", "-1.648721", "1.280842", "0.631154"),
    ("js", 0.5, "-0.313262", "-0.974077", "0.660815", "0.660652"),
    ("alpha", 0.3, "-2.469394", "-3.872781", "1.403387", "0.625438"),
    ("alpha", 0.5, "-1.213061", "-2.568051", "1.354990", "0.627691"),
    ("alpha", 0.7, "-0.709408", "-2.027239", "1.317832", "0.629425"),
]
EACH = [(name, alpha) for name, alpha, *_ in TABLE]


def bound(name, divergence, alpha=0.5, **hyper):
    return LOSSES[name].bind(f_divergence=divergence, f_alpha=alpha, **hyper)


@pytest.mark.parametrize("divergence, alpha, chosen, rejected, margin, loss", TABLE)
def test_the_known_pair_under_each_divergence(divergence, alpha, chosen, rejected, margin, loss):
    # The paper's transform of the alpha divergence has no constant; ours is 0 at 0, which cancels in the margin.
    constant = 1 / alpha if divergence == "alpha" else 0.0
    logratios = torch.tensor([1.0, -0.5], dtype=torch.float64)
    a, b = (x - constant for x in divergence_reward(logratios, divergence, alpha).tolist())
    assert [f"{x:.6f}" for x in (a, b)] == [chosen, rejected]
    found = bound("logistic", divergence, alpha, beta=0.1)
    assert f"{found.margin(known()).item():.6f}" == margin
    assert f"{found(known()).item():.6f}" == loss


@pytest.mark.parametrize("end, divergence", [(1e-6, "reverse_kl"), (1 - 1e-6, "forward_kl")])
def test_the_alpha_divergence_lies_between_the_two(end, divergence):
    batch = drawn(20)
    between, limit = (bound("logistic", *d, beta=0.5)(batch) for d in (("alpha", end), (divergence, 0.5)))
    torch.testing.assert_close(between, limit, rtol=1e-5, atol=1e-5)
    middle = bound("logistic", "alpha", 0.5, beta=0.5)(batch)
    assert (middle - limit).abs().max() > 1e-3


def test_without_another_divergence_nothing_is_changed():
    batch = drawn(9)
    assert torch.equal(bound("logistic", "reverse_kl", beta=0.5)(batch), LOSSES["logistic"].bind(beta=0.5)(batch))


@pytest.mark.parametrize("divergence, alpha", EACH)
def test_the_slope_of_each_transform_is_positive_and_the_known_one(divergence, alpha):
    x = torch.linspace(-3.0, 3.0, 13, dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(divergence_reward(x, divergence, alpha).sum(), x)
    known_ = {
        "reverse_kl": torch.ones_like(x),
        "forward_kl": torch.exp(-x),
        "js": torch.sigmoid(-x),
        "alpha": torch.exp(-alpha * x),
    }[divergence]
    torch.testing.assert_close(slope, known_, rtol=1e-12, atol=0)
    assert (slope > 0).all()


@pytest.mark.parametrize("divergence, alpha", EACH)
def test_at_equal_logratios_it_is_log_two(divergence, alpha):
    batch = from_logps([0.3, -2.0], [0.3, -2.0], [0.0, 0.0], [0.0, 0.0])
    expected = torch.full((2,), math.log(2.0), dtype=torch.float64)
    torch.testing.assert_close(bound("logistic", divergence, alpha, beta=5.0)(batch), expected, rtol=1e-15, atol=0)


def test_under_js_the_rejected_candidate_is_pushed_more_than_the_chosen_one_is_pulled():
    (chosen,), (rejected,) = slopes(bound("logistic", "js", beta=0.1), known())
    assert f"{-rejected / chosen:.6f}" == "2.314479"
    (chosen,), (rejected,) = slopes(bound("logistic", "js", beta=0.1), from_logps([40.0], [-40.0], [0.0], [0.0]))
    assert abs(chosen) < 1e-15 < abs(rejected)


@pytest.mark.parametrize("divergence, alpha", EACH)
@pytest.mark.parametrize(
    "name, hyper",
    [
        ("robust", {"beta": 0.5, "flip": 0.2}),
        ("hinge", {"beta": 0.5}),
        ("ipo", {"beta": 0.5}),
        ("logistic", {"beta": 0.5, "flip": 0.1}),
        ("exo", {"beta": 0.5}),
        ("discopop", {"beta": 0.5}),
    ],
)
def test_a_loss_of_a_margin_is_the_same_function_of_the_bent_one(name, hyper, divergence, alpha):
    batch = drawn(11)
    chosen, rejected = (divergence_reward(x, divergence, alpha) for x in batch.logratios)
    bent = chosen - rejected
    expected = LOSSES[name].bind(**hyper)(from_margins(bent))
    torch.testing.assert_close(bound(name, divergence, alpha, **hyper)(batch), expected, rtol=1e-13, atol=0)


def test_means_over_tokens_are_taken_and_logps_stretched_before_a_logratio_is_bent():
    batch = with_tokens()
    loss = bound("ipo", "js", beta=0.5, logp_scale=3.0)
    means = batch.per_token()
    bent = [torch.nn.functional.logsigmoid(3.0 * x) for x in means.logratios]
    torch.testing.assert_close(loss.margin(batch), bent[0] - bent[1], rtol=1e-13, atol=1e-15)


def test_near_the_reference_all_divergences_are_one_but_for_js_that_has_half_of_it():
    tiny = from_logps([1e-6], [-2e-6], [0.0], [0.0])
    margins = [bound("logistic", d, a, beta=1.0).margin(tiny).item() for d, a in EACH]
    assert margins == pytest.approx([3e-6 * (0.5 if d == "js" else 1.0) for d, _ in EACH], rel=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("divergence, alpha", EACH)
def test_logratios_far_out_stay_finite(divergence, alpha, dtype):
    far = [-100.0, 100.0, -1e4, 1e4]
    zeros = [0.0] * 4
    for batch in (from_logps(zeros, far, zeros, zeros, dtype), from_logps(far, zeros, zeros, zeros, dtype)):
        loss = bound("logistic", divergence, alpha, beta=0.1)
        chosen, rejected = slopes(loss, batch)
        assert loss(batch).isfinite().all() and all(map(math.isfinite, [*chosen, *rejected]))


def divergence_of(name, alpha, u):
    return {
        "reverse_kl": u * u.log(),
        "forward_kl": -u.log(),
        "js": u * u.log() - (u + 1) * ((u + 1) / 2).log(),
        "alpha": (u ** (1 - alpha) - (1 - alpha) * u - alpha) / (alpha * (alpha - 1)),
    }[name]


@pytest.mark.parametrize("divergence, alpha", EACH)
def test_the_best_policy_of_a_bandit_has_the_rewards_of_the_transform(divergence, alpha):
    # What f-DPO relies on: at the maximum of E r - beta D_f the rewards' differences are beta (s - s').
    reference = torch.tensor([0.2, 0.5, 0.3], dtype=torch.float64)
    reward, beta = torch.tensor([1.0, 0.2, -0.5], dtype=torch.float64), 0.7

    def cost(free):
        policy = torch.cat([free, 1 - free.sum(0, keepdim=True)])
        return beta * (reference * divergence_of(divergence, alpha, policy / reference)).sum() - policy @ reward

    free = reference[:2]
    for _ in range(40):  # Newton's method in probabilities, where it is convex; no step leaves them
        slope = torch.autograd.functional.jacobian(cost, free)
        step = torch.linalg.solve(torch.autograd.functional.hessian(cost, free), slope)
        while min((free - step).min(), 1 - (free - step).sum()) <= 0:
            step = step / 2
        free = free - step
    assert slope.norm() < 1e-12
    policy = torch.cat([free, 1 - free.sum(0, keepdim=True)])
    said = beta * divergence_reward((policy / reference).log(), divergence, alpha)
    torch.testing.assert_close(said - said[0], reward - reward[0], rtol=0, atol=1e-7)


@pytest.mark.parametrize("alpha", [0.3, 0.5, 0.7])
def test_the_coefficient_of_trl_is_one_minus_alpha(alpha):
    # Its transform, (t^(c - 1) - 1) / (c - 1) of the ratio t, as its documentation has it.
    logratio, c = torch.linspace(-2.0, 2.0, 9, dtype=torch.float64), 1 - alpha
    theirs = (logratio.exp() ** (c - 1) - 1) / (c - 1)
    torch.testing.assert_close(divergence_reward(logratio, "alpha", alpha), theirs, rtol=1e-12, atol=1e-15)


def test_an_unknown_divergence_is_refused_with_those_that_are_known():
    with pytest.raises(
        ValueError, match="f_divergence of the loss 'hinge' is one of reverse_kl, forward_kl, js, alpha"
    ):
        bound("hinge", "chi_square", beta=1.0)
    with pytest.raises(ValueError, match="f_alpha.*must lie in"):
        bound("hinge", "alpha", 1.0, beta=1.0)
    assert set(DIVERGENCES) == {name for name, _ in EACH}


def slope_of_f(divergence, alpha, logratio):
    """``f'`` at a ratio, of the divergence written with ``f'(1) = 0``."""
    u = math.exp(logratio)
    return {
        "reverse_kl": math.log(u),
        "forward_kl": 1.0 - 1.0 / u,
        "js": math.log(2.0 * u / (1.0 + u)),
        "alpha": (1.0 - u**-alpha) / alpha,
    }[divergence]


@pytest.mark.parametrize("divergence, alpha", EACH)
def test_the_rewards_are_beta_times_the_slope_of_f(divergence, alpha):
    batch, loss = drawn(5), bound("logistic", divergence, alpha, beta=0.3)
    for rewards, logratios in zip(loss.rewards(batch), batch.logratios, strict=True):
        plain = [0.3 * slope_of_f(divergence, alpha, x) for x in logratios.tolist()]
        assert rewards.tolist() == pytest.approx(plain, rel=1e-12, abs=1e-15)


@pytest.mark.parametrize("divergence, alpha", EACH)
def test_the_difference_of_the_rewards_is_beta_times_the_margin_and_equal_policies_have_none(divergence, alpha):
    batch, loss = with_tokens(), bound("ipo", divergence, alpha, beta=0.3, ld_alpha=0.5, logp_scale=2.0)
    chosen, rejected = loss.rewards(batch)
    torch.testing.assert_close(chosen - rejected, 0.3 * loss.margin(batch), rtol=1e-12, atol=1e-14)
    same = replace(batch, reference_chosen=batch.chosen, reference_rejected=batch.rejected)
    assert not torch.stack(loss.rewards(same)).any()
