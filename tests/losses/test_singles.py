"""Losses on single examples: what they reduce to, and how they behave far from the start."""

import math
from dataclasses import replace

import pytest
import torch

from diffalign.losses import LOSSES, CandidateLogps, PairLogps
from diffalign.losses.singles.f_sft import PHI, phi_of
from tests.losses.logps import drawn
from tests.losses.test_golden_singles import judged


@pytest.mark.parametrize("shift", [-3.0, 0.0, 0.2, 5.0])
def test_the_two_halves_of_a_pair_never_cost_less_than_the_pair(shift):
    beta, pairs = 0.4, drawn(50, scale=3.0)
    halves = halved(LOSSES["bco"].bind(beta=beta), pairs, torch.full((50,), shift, dtype=torch.float64))
    whole = LOSSES["logistic"].bind(beta=beta)(pairs)
    a, b = beta * (pairs.chosen_logratio - shift), beta * (shift - pairs.rejected_logratio)
    gap = torch.log1p((torch.exp(-a) + torch.exp(-b)) / (1 + torch.exp(-(a + b))))
    torch.testing.assert_close(halves - whole, gap)
    assert (gap > 0).all()


def test_the_halves_are_nearest_to_the_pair_at_the_midpoint():
    loss, pairs = LOSSES["bco"].bind(beta=0.4), drawn(20, scale=3.0)
    middle = (pairs.chosen_logratio + pairs.rejected_logratio) / 2
    least = halved(loss, pairs, middle)
    for step in (-0.5, 0.5):
        assert (halved(loss, pairs, middle + step) > least).all()


def halved(loss, pairs, shifts):
    """The sum of the two halves of each pair, each at its own shift."""
    sides = ((pairs.chosen_logratio, True), (pairs.rejected_logratio, False))
    each = lambda x, good, d: loss(judged([x], good, d)).item()
    sums = [sum(each(x[k].item(), good, d.item()) for x, good in sides) for k, d in enumerate(shifts)]
    return torch.tensor(sums, dtype=torch.float64)


def test_at_the_shift_an_example_costs_log_two_and_pulls_with_half_of_beta():
    batch = judged([0.7, 0.7], [True, False], 0.7)
    batch.chosen.logps.requires_grad_(True)
    found = LOSSES["bco"].bind(beta=0.1)(batch)
    (pull,) = torch.autograd.grad(found.sum(), batch.chosen.logps)
    assert found.tolist() == [math.log(2)] * 2 and pull.tolist() == pytest.approx([-0.05, 0.05], rel=1e-14)


def test_a_common_gain_of_examples_and_shift_changes_nothing():
    loss = LOSSES["bco"].bind(beta=0.5)
    one, other = loss(judged([1.0, -2.0], [True, False], 0.3)), loss(judged([5.0, 2.0], [True, False], 4.3))
    torch.testing.assert_close(one, other, rtol=1e-13, atol=0)


def test_unlike_kto_no_example_is_given_up():
    pull = lambda name: slope(LOSSES[name].bind(beta=1.0), judged([-30.0]))
    assert abs(pull("kto")) < 1e-10 and pull("bco") == pytest.approx(-1.0)


def test_a_missing_shift_is_refused():
    with pytest.raises(ValueError, match="running shift"):
        LOSSES["bco"].bind(beta=1.0)(replace(judged([1.0]), baseline=None))


def slope(loss, batch):
    leaf = batch.chosen.logps.clone().requires_grad_(True)
    given = replace(batch, chosen=replace(batch.chosen, logps=leaf))
    return torch.autograd.grad(loss(given).sum(), leaf)[0].item()


def test_forgetting_is_the_rejected_half_of_a_pair_at_its_own_scale():
    beta, ratios = 0.3, [-5.0, -0.4, 0.0, 2.0]
    found = LOSSES["npo"].bind(beta=beta)(judged(ratios, False))
    zeros = CandidateLogps(torch.zeros(4, dtype=torch.float64))
    pairs = PairLogps(zeros, CandidateLogps(torch.tensor(ratios, dtype=torch.float64)), zeros, zeros)
    torch.testing.assert_close(found, 2 / beta * LOSSES["logistic"].bind(beta=beta)(pairs))


@pytest.mark.parametrize("beta", [0.001, 0.1, 5000.0])
def test_the_first_step_of_forgetting_is_gradient_ascent_whatever_beta(beta):
    assert slope(LOSSES["npo"].bind(beta=beta), judged([0.0], False)) == pytest.approx(1.0, rel=1e-14)


def test_what_is_retained_is_fine_tuned_on_per_token():
    batch = judged([-6.0, -9.0], True, tokens=[2, 9])
    found = LOSSES["npo"].bind(beta=0.1, retain=0.5)(batch)
    torch.testing.assert_close(found, 0.5 * LOSSES["sft"].bind()(batch))


def test_undesirable_examples_are_enough_where_a_row_declares_it():
    assert [name for name, row in LOSSES.items() if row.allows_only_undesirable] == ["npo"]
    assert all(row.accepts_undesirable for row in LOSSES.values() if row.allows_only_undesirable)


@pytest.mark.parametrize("phi", PHI)
def test_every_curve_begins_as_fine_tuning(phi):
    assert LOSSES["f_sft"].bind(beta=0.3, phi=phi)(judged([0.0])).item() == 0.0
    assert slope(LOSSES["f_sft"].bind(beta=0.3, phi=phi), judged([0.0])) == pytest.approx(-0.3, rel=1e-14)


def test_the_straight_curve_is_fine_tuning_and_a_constant_of_the_reference():
    batch = drawn(5)
    found = LOSSES["f_sft"].bind(beta=0.3, phi="identity")(batch)
    plain = LOSSES["sft"].bind(scale=0.3, per_token=False)(batch)
    torch.testing.assert_close(found - plain, 0.3 * batch.reference_chosen.logps)


@pytest.mark.parametrize("phi", [name for name in PHI if name != "identity"])
def test_curved_weights_are_less_after_a_gain_and_more_after_a_loss(phi):
    weight = lambda u: -slope(LOSSES["f_sft"].bind(beta=1.0, phi=phi), judged([u]))
    assert weight(0.5) < 1 < weight(-0.5)
    assert weight(-0.2) < weight(-0.4) < weight(-0.59)


def test_a_demonstration_is_learnt_at_a_gain_of_two():
    loss = LOSSES["f_sft"].bind(beta=0.1, phi="pearson")
    assert loss(judged([20.0])).item() == -1.0 and slope(loss, judged([20.0])) == 0.0
    assert loss(judged([20.1])).item() > -1.0


@pytest.mark.parametrize("phi, edge", [(name, row.edge) for name, row in PHI.items() if math.isfinite(row.edge)])
def test_behind_its_edge_a_curve_goes_on_as_its_tangent(phi, edge):
    u = torch.tensor([edge - 1000.0, edge - 1e-6, edge, edge + 1e-6], dtype=torch.float64, requires_grad=True)
    (slopes,) = torch.autograd.grad(phi_of(u, phi).sum(), u)
    assert slopes[0] == slopes[1] and slopes[1].item() == pytest.approx(PHI[phi].slope(edge), rel=1e-12)
    assert slopes[3].item() == pytest.approx(slopes[1].item(), rel=1e-3)


def test_token_by_token_an_answer_of_one_token_is_itself_and_length_does_not_weigh():
    loss, whole = LOSSES["f_sft_tokens"].bind(beta=0.5), LOSSES["f_sft"].bind(beta=0.5)
    ratios = torch.tensor([[0.3, 0.0], [0.3, 0.3]], dtype=torch.float64)
    side = lambda x: CandidateLogps(x.sum(1), x, torch.tensor([1, 2]))
    found = loss(PairLogps(side(ratios), None, side(torch.zeros_like(ratios))))
    assert found.tolist() == pytest.approx([whole(judged([0.3])).item()] * 2, rel=1e-14)


def test_token_by_token_sums_are_refused():
    with pytest.raises(ValueError, match="only sums are given"):
        LOSSES["f_sft_tokens"].bind(beta=0.5)(judged([0.3]))


def test_a_word_that_is_no_curve_names_those_that_are():
    with pytest.raises(ValueError, match="phi of the loss 'f_sft' is one of pearson.*Did you mean 'pearson'"):
        LOSSES["f_sft"].bind(beta=0.1, phi="person")
