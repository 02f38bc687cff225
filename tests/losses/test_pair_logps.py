"""Margins, logratios and the rewards read off them."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from diffalign.losses import LOSSES, CandidateLogps, PairLogps, accuracy, implicit_rewards
from tests.losses.logps import drawn, from_logps, from_margins, with_tokens

LOGPS = st.lists(st.floats(-1e6, 1e6), min_size=4, max_size=4)


@given(logps=LOGPS)
@settings(max_examples=60, deadline=None, derandomize=True)
def test_swapping_negates_the_margin_to_the_bit(logps):
    batch = from_logps(*([x] for x in logps))
    assert torch.equal(batch.swapped().margin, -batch.margin)


def test_a_margin_is_the_difference_of_the_two_logratios():
    batch = drawn(8)
    torch.testing.assert_close(batch.margin, batch.chosen_logratio - batch.rejected_logratio)


def test_a_margin_between_near_equal_errors_survives_float32():
    # Errors near 0.1 that differ by 1e-5: a margin of 5e-6 from float32 log-probabilities, to a few of its ulps.
    batch = from_logps([-0.05], [-0.05], [-0.05], [-0.050005], dtype=torch.float32)
    assert batch.margin.item() == pytest.approx(-5e-6, abs=2e-8)


def test_a_missing_reference_is_refused_and_not_taken_for_zero():
    batch = PairLogps(CandidateLogps(torch.zeros(1)), CandidateLogps(torch.zeros(1)))
    with pytest.raises(ValueError, match="compute them too"):
        _ = batch.margin
    with pytest.raises(ValueError, match="compute them too"):
        _ = batch.chosen_logratio


def test_rewards_are_beta_times_the_logratios_without_gradient():
    leaf = torch.tensor([1.0, -2.0], requires_grad=True)
    batch = PairLogps(
        CandidateLogps(leaf), CandidateLogps(2 * leaf), CandidateLogps(torch.ones(2)), CandidateLogps(torch.zeros(2))
    )
    chosen, rejected = LOSSES["logistic"].bind(beta=3.0).rewards(batch)
    assert chosen.tolist() == [0.0, -9.0] and rejected.tolist() == [6.0, -12.0]
    assert not chosen.requires_grad and not rejected.requires_grad


def test_rewards_without_a_reference_are_beta_times_the_log_probabilities():
    batch = PairLogps(CandidateLogps(torch.tensor([-1.0])), CandidateLogps(torch.tensor([-4.0])))
    chosen, rejected = implicit_rewards(batch, beta=2.0, against_reference=False)
    assert (chosen.item(), rejected.item()) == (-2.0, -8.0)


def test_ties_count_half_in_the_accuracy():
    assert accuracy(from_margins([1e-9, 0.0, -3.0]).margin).tolist() == [1.0, 0.5, 0.0]
    assert accuracy(torch.tensor([float("nan")])).tolist() == [0.0]


def test_single_candidates_have_one_reward_and_no_margin():
    batch = PairLogps(CandidateLogps(torch.tensor([-1.0])), reference_chosen=CandidateLogps(torch.tensor([-3.0])))
    assert LOSSES["sft"].bind().rewards(batch)[1] is None
    chosen, rejected = implicit_rewards(batch, beta=2.0)
    assert chosen.item() == 4.0 and rejected is None
    for ask in (lambda: batch.margin, lambda: batch.rejected_logratio, batch.swapped, lambda: batch.pair):
        with pytest.raises(ValueError, match="rejected is None"):
            ask()


def with_parts(count=3, tokens=4, seed=1):
    """Scores whose log-probabilities are sums of parts."""
    generator = torch.Generator().manual_seed(seed)
    parts = torch.randn(4, count, tokens, generator=generator, dtype=torch.float64)
    lengths = torch.arange(4 * count).reshape(4, count)
    return PairLogps(*(CandidateLogps(p.sum(1), p, n) for p, n in zip(parts, lengths, strict=True)))


def test_means_over_tokens_divide_everything_by_the_policys_lengths_once():
    batch = with_tokens(reference_lengths=False)
    means = batch.per_token()
    n_w, n_l = batch.chosen.lengths, batch.rejected.lengths
    torch.testing.assert_close(means.chosen_logratio, batch.chosen_logratio / n_w)
    torch.testing.assert_close(means.rejected_logratio, batch.rejected_logratio / n_l)
    for side in (means.chosen, means.rejected, means.reference_chosen, means.reference_rejected):
        torch.testing.assert_close(side.parts.sum(1), side.logps)
    assert torch.equal(means.per_token().margin, means.margin)
    single = PairLogps(batch.chosen, reference_chosen=batch.reference_chosen).per_token()
    assert torch.equal(single.chosen_logratio, means.chosen_logratio) and single.rejected is None


def test_desirable_and_baseline_stay_with_a_single_example():
    given = {"desirable": torch.tensor([True, False]), "baseline": torch.tensor(0.5)}
    batch = PairLogps(CandidateLogps(torch.zeros(2)), reference_chosen=CandidateLogps(torch.ones(2)), **given)
    for changed in (batch.detach(), batch.per_token(), batch.scaled(torch.ones(2))):
        assert changed.desirable is batch.desirable and changed.baseline is batch.baseline


FACTORS = torch.tensor([1.0, -2.5, 0.0], dtype=torch.float64)


def test_scaling_multiplies_every_logratio_and_the_parts_still_add_up():
    batch = with_parts()
    scaled = batch.scaled(FACTORS)
    torch.testing.assert_close(scaled.chosen_logratio, FACTORS * batch.chosen_logratio)
    torch.testing.assert_close(scaled.rejected_logratio, FACTORS * batch.rejected_logratio)
    torch.testing.assert_close(scaled.margin, FACTORS * batch.margin)
    for side in (scaled.chosen, scaled.rejected, scaled.reference_chosen, scaled.reference_rejected):
        torch.testing.assert_close(side.parts.sum(1), side.logps)
    assert torch.equal(scaled.chosen.lengths, batch.chosen.lengths)
    assert scaled.margin[0] == batch.margin[0] and scaled.margin[2] == 0.0
    assert torch.equal(batch.swapped().scaled(-FACTORS).margin, scaled.margin)


def test_gating_multiplies_the_rejected_logratio_only():
    batch = with_parts()
    gated = batch.gated(FACTORS)
    assert gated.chosen is batch.chosen and gated.reference_rejected is batch.reference_rejected
    torch.testing.assert_close(gated.rejected_logratio, FACTORS * batch.rejected_logratio)
    torch.testing.assert_close(gated.rejected.parts.sum(1), gated.rejected.logps)
    assert gated.rejected.logps[0] == batch.rejected.logps[0]
    assert gated.rejected_logratio[2] == 0.0


def test_an_open_gate_changes_no_bit_where_the_sum_would():
    # reference + (policy - reference) is another float32 number than policy.
    policy, reference = torch.tensor([1e-8]), torch.tensor([1.0])
    batch = PairLogps(*(CandidateLogps(x) for x in (reference, policy, reference, reference)))
    assert reference + (policy - reference) != policy
    assert torch.equal(batch.gated(torch.ones(1)).rejected.logps, policy)


def test_swapping_some_pairs_leaves_the_others():
    batch, where = with_parts(), torch.tensor([True, False, True])
    some, all_ = batch.swapped(where), batch.swapped()
    for name in ("chosen", "rejected", "reference_chosen", "reference_rejected"):
        for field in ("logps", "parts", "lengths"):
            found, kept, turned = (getattr(getattr(x, name), field) for x in (some, batch, all_))
            assert torch.equal(found[where], turned[where]) and torch.equal(found[~where], kept[~where])
    bare = PairLogps(batch.chosen, batch.rejected).swapped(where)
    assert torch.equal(bare.chosen.logps, some.chosen.logps) and bare.reference_chosen is None


def test_a_gate_without_a_reference_is_refused():
    with pytest.raises(ValueError, match="compute them too"):
        PairLogps(CandidateLogps(torch.zeros(1)), CandidateLogps(torch.zeros(1))).gated(torch.ones(1))
