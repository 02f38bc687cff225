"""Margins, logratios and the rewards read off them."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from diffalign.losses import LOSSES, PairScores, Scores, accuracy, implicit_rewards
from tests.losses.scores import drawn, from_logps, from_margins

LOGPS = st.lists(st.floats(-1e6, 1e6), min_size=4, max_size=4)


@given(logps=LOGPS)
@settings(max_examples=60, deadline=None, derandomize=True)
def test_swapping_negates_the_margin_to_the_bit(logps):
    scores = from_logps(*([x] for x in logps))
    assert torch.equal(scores.swapped().margin, -scores.margin)


def test_a_margin_is_the_difference_of_the_two_logratios():
    scores = drawn(8)
    torch.testing.assert_close(scores.margin, scores.chosen_logratio - scores.rejected_logratio)


def test_a_margin_between_near_equal_errors_survives_float32():
    # Errors near 0.1 that differ by 1e-5: a margin of 5e-6 from float32 log-probabilities, to a few of its ulps.
    scores = from_logps([-0.05], [-0.05], [-0.05], [-0.050005], dtype=torch.float32)
    assert scores.margin.item() == pytest.approx(-5e-6, abs=2e-8)


def test_a_missing_reference_is_said_and_not_taken_for_zero():
    scores = PairScores(Scores(torch.zeros(1)), Scores(torch.zeros(1)))
    with pytest.raises(ValueError, match="score the reference too"):
        _ = scores.margin
    with pytest.raises(ValueError, match="score the reference too"):
        _ = scores.chosen_logratio


def test_rewards_are_beta_times_the_logratios_without_gradient():
    leaf = torch.tensor([1.0, -2.0], requires_grad=True)
    scores = PairScores(Scores(leaf), Scores(2 * leaf), Scores(torch.ones(2)), Scores(torch.zeros(2)))
    chosen, rejected = LOSSES["logistic"].bind(beta=3.0).rewards(scores)
    assert chosen.tolist() == [0.0, -9.0] and rejected.tolist() == [6.0, -12.0]
    assert not chosen.requires_grad and not rejected.requires_grad


def test_rewards_without_a_reference_are_beta_times_the_log_probabilities():
    scores = PairScores(Scores(torch.tensor([-1.0])), Scores(torch.tensor([-4.0])))
    chosen, rejected = implicit_rewards(scores, beta=2.0, against_reference=False)
    assert (chosen.item(), rejected.item()) == (-2.0, -8.0)


def test_ties_count_half_in_the_accuracy():
    assert accuracy(from_margins([1e-9, 0.0, -3.0]).margin).tolist() == [1.0, 0.5, 0.0]
    assert accuracy(torch.tensor([float("nan")])).tolist() == [0.0]
