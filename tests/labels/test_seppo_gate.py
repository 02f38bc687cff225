"""The anchor's gate: known numbers, and what it may and may not look at."""

import dataclasses
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from diffalign.labels import expected, hard, seppo_gate
from diffalign.losses import LOSSES, CandidateLogps, PairLogps
from tests.labels.rows import AGAINST_A_REFERENCE, PAIRS
from tests.losses.logps import drawn, from_errors

BETA = 2000.0
LOSS = LOSSES["logistic"].bind(beta=BETA)
EXCESS = [(-0.001, 0.002), (0.001, 0.002), (0.001, -0.002), (-0.001, -0.002), (0.0, 0.3)]
"""Excess errors of the anchor and of the sample: ahead, behind, behind, ahead, and a tie."""


def _scores(excess, dtype=torch.float64):
    d_w, d_l = (torch.tensor(column, dtype=dtype) for column in zip(*excess, strict=True))
    return PairLogps(*(CandidateLogps(-e / 2) for e in (d_w, d_l, torch.zeros_like(d_w), torch.zeros_like(d_l))))


def _label(count, **how):
    return seppo_gate(PAIRS[:1] * count, **how)


def test_the_known_gates_margins_and_losses():
    batch, label = _scores(EXCESS), _label(5)
    assert label.gate(batch).tolist() == [1.0, -1.0, -1.0, 1.0, 0.0]
    inside = BETA * batch.gated(label.gate(batch)).margin
    assert inside.tolist() == pytest.approx([3.0, -3.0, 1.0, -1.0, 0.0], rel=1e-12)
    by_hand = [0.0485873516, 3.0485873516, 0.3132616875, 1.3132616875, math.log(2)]
    assert expected(LOSS, batch, label).tolist() == pytest.approx(by_hand, abs=5.1e-11)


def test_the_indicator_drops_the_sample_where_the_reference_is_ahead():
    batch, label = _scores(EXCESS), _label(5, kind="indicator")
    assert label.gate(batch).tolist() == [1.0, 0.0, 0.0, 1.0, 0.0]
    u = torch.tensor([3.0, -1.0, -1.0, -1.0, 0.0], dtype=torch.float64)
    torch.testing.assert_close(BETA * batch.gated(label.gate(batch)).margin, u)
    torch.testing.assert_close(expected(LOSS, batch, label), torch.nn.functional.softplus(-u))


@pytest.mark.parametrize("kind", ["sign", "indicator"])
@pytest.mark.parametrize("tie", [0, 1])
def test_an_exact_tie_has_the_gate_of_the_setting(kind, tie):
    label = _label(2, kind=kind, tie=tie)
    assert label.gate(_scores([(0.0, 0.3), (0.0, -0.3)])).tolist() == [tie, tie]
    assert label.gate(_scores([(-1e-12, 0.3), (1e-12, 0.3)])).tolist() == [1.0, -1.0 if kind == "sign" else 0.0]


def test_a_tie_learns_from_the_chosen_candidate_only_or_as_from_any_pair():
    batch = from_errors([0.4], [0.7], [0.4], [0.7])
    for tie in (0, 1):
        leaves = [side.logps.clone().requires_grad_(True) for side in (batch.chosen, batch.rejected)]
        moved = dataclasses.replace(batch, chosen=CandidateLogps(leaves[0]), rejected=CandidateLogps(leaves[1]))
        chosen, rejected = torch.autograd.grad(expected(LOSS, moved, _label(1, tie=tie)).sum(), leaves)
        assert (chosen.item(), rejected.item()) == (-BETA / 2, tie * BETA / 2)


@given(other=st.floats(-1e3, 1e3), kind=st.sampled_from(["sign", "indicator"]))
@settings(max_examples=30, deadline=None, derandomize=True)
def test_the_gate_does_not_depend_on_the_sample(other, kind):
    label = _label(5, kind=kind)
    batch = _scores(EXCESS)
    replaced = dataclasses.replace(batch, rejected=CandidateLogps(torch.full((5,), other, dtype=torch.float64)))
    assert torch.equal(label.gate(replaced), label.gate(batch))
    assert torch.equal(label.gate(dataclasses.replace(batch, rejected=None)), label.gate(batch))


def test_behind_its_reference_the_policy_lowers_both_errors_by_the_lost_share():
    e_w, e_l = (torch.tensor([e], dtype=torch.float64, requires_grad=True) for e in (0.4002, 0.6996))
    expected(LOSS, from_errors(e_w, e_l, [0.4], [0.7]), _label(1)).sum().backward()
    u = -(BETA / 2) * (0.0002 + -0.0004)
    pull = BETA / 2 / (1 + math.exp(u))
    assert e_w.grad.item() == pytest.approx(pull, rel=1e-9)
    assert e_l.grad.item() == pytest.approx(pull, rel=1e-9)


def test_only_the_sum_of_the_errors_counts_behind_and_only_their_difference_ahead():
    behind, ahead = _scores([(0.001, 0.003), (0.003, 0.001)]), _scores([(-0.001, 0.002), (-0.002, 0.001)])
    for batch in (behind, ahead):
        one, other = expected(LOSS, batch, _label(2)).tolist()
        assert one == pytest.approx(other, rel=1e-12)


@pytest.mark.parametrize("loss", AGAINST_A_REFERENCE)
def test_where_the_policy_is_ahead_everywhere_it_is_the_plain_loss_to_the_bit(loss):
    batch = drawn(5, dtype=torch.float32)
    ahead = dataclasses.replace(batch, chosen=CandidateLogps(batch.reference_chosen.logps + batch.chosen.logps.abs()))
    for how in ({}, {"kind": "indicator"}, {"tie": 1}):
        assert torch.equal(expected(loss, ahead, seppo_gate(PAIRS, **how)), expected(loss, ahead, hard(PAIRS)))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_gradients_stay_finite_at_ties_and_at_extremes(dtype):
    batch = _scores([(0.0, 0.0), (0.0, 1e4), (1e4, -1e4), (-1e4, 1e4), (1e-30, 1.0)], dtype)
    leaves = [side.logps.clone().requires_grad_(True) for side in (batch.chosen, batch.rejected)]
    moved = dataclasses.replace(batch, chosen=CandidateLogps(leaves[0]), rejected=CandidateLogps(leaves[1]))
    values = expected(LOSS, moved, _label(5))
    assert values.isfinite().all() and values.dtype == dtype
    assert all(gradient.isfinite().all() for gradient in torch.autograd.grad(values.sum(), leaves))


def test_identical_numerics_flip_nothing():
    # A share of one half would mean that rounding decides.
    batch = drawn(64, dtype=torch.float32)
    equal = dataclasses.replace(batch, reference_chosen=batch.chosen)
    assert (_label(64).gate(equal) == 0.0).all()


@pytest.mark.parametrize("how, said", [({"kind": "step"}, "sign .* or indicator"), ({"tie": -1}, "0 or 1; got -1")])
def test_an_unknown_gate_is_refused(how, said):
    with pytest.raises(ValueError, match=said):
        seppo_gate(PAIRS, **how)


def test_a_gate_without_a_reference_is_refused():
    batch = drawn(5)
    with pytest.raises(ValueError, match="compares with a reference"):
        expected(LOSS, dataclasses.replace(batch, reference_chosen=None, reference_rejected=None), seppo_gate(PAIRS))
