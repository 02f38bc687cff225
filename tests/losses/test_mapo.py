"""MaPO and fine-tuning: what is known of the link, and the reduction of one to the other."""

import math
from decimal import Decimal, localcontext

import pytest
import torch

from diffalign.losses import LOSSES, CandidateLogps, PairLogps
from diffalign.losses.pairs.mapo import NEAR, phi
from tests.losses.logps import drawn

POINTS = [0.0, 1e-9, -1e-9, 1e-4, 0.01, 0.1, NEAR * 0.999, NEAR, -NEAR, 0.26, 0.5, 1.0, -1.0, 7.0, 40.0, -40.0]


def _by_hand(x):
    """``(phi, phi')`` in fifty digits."""
    if x == 0.0:
        return 1.0, -0.5
    with localcontext() as context:
        context.prec = 50
        x = Decimal(x)
        e = x.exp() - 1
        return float(x / e), float((e - x * x.exp()) / (e * e))


@pytest.mark.parametrize("dtype, tolerance", [(torch.float64, 3e-15), (torch.float32, 1e-6)])
def test_the_link_and_its_slope_are_precise_everywhere(dtype, tolerance):
    x = torch.tensor(POINTS, dtype=dtype, requires_grad=True)
    value = phi(x)
    (slope,) = torch.autograd.grad(value.sum(), x)
    assert value.dtype == dtype
    for i, point in enumerate(x.tolist()):
        by_hand = _by_hand(point)
        assert (value[i].item(), slope[i].item()) == pytest.approx(by_hand, rel=tolerance, abs=tolerance)


def test_the_link_falls_from_one_to_zero_without_overflow():
    x = torch.tensor([0.0, 0.2, 0.3, 5.0, 80.0, 1e4], requires_grad=True)
    value = phi(x)
    assert value[0] == 1.0 and value[-1] == 0.0 and (value.diff() < 0).all()
    assert torch.autograd.grad(value.sum(), x)[0].isfinite().all()


def test_equal_errors_cost_the_error_and_a_tenth_of_log_two():
    half = CandidateLogps(torch.tensor([-0.15], dtype=torch.float64))
    assert LOSSES["mapo"].bind()(PairLogps(half, half)).item() == pytest.approx(0.3 + 0.1 * math.log(2), rel=1e-15)


def test_a_margin_of_weight_zero_is_fine_tuning_on_the_squared_error_to_the_bit():
    batch = drawn(20)
    assert torch.equal(LOSSES["mapo"].bind(weight=0.0)(batch), LOSSES["sft"].bind(scale=2.0)(batch))


def test_fine_tuning_at_scale_two_is_the_squared_error_itself():
    errors = torch.tensor([0.25, 1.5], dtype=torch.float64)
    assert torch.equal(LOSSES["sft"].bind(scale=2.0)(PairLogps(CandidateLogps(-errors / 2))), errors)


def test_a_far_rejected_candidate_is_not_pushed_away_any_more():
    def pull(error):
        leaf = torch.tensor([-error / 2], dtype=torch.float64, requires_grad=True)
        loss = LOSSES["mapo"].bind(temperature=1.0)(
            PairLogps(CandidateLogps(torch.tensor([-0.1]).double()), CandidateLogps(leaf))
        )
        return torch.autograd.grad(loss.sum(), leaf)[0].item()

    assert pull(0.2) > 10 * pull(20.0) > 0


def test_swapping_the_candidates_changes_the_first_term_too():
    one, other = (CandidateLogps(torch.tensor([x], dtype=torch.float64)) for x in (-0.1, -0.3))
    loss = LOSSES["mapo"].bind()
    # log s(z) - log s(-z) = z, so the margins differ by 0.1 * 1000 (phi(0.5 e_w) - phi(0.5 e_l)); the errors by 0.4.
    gap = 100.0 * -phi(torch.tensor([0.1, 0.3], dtype=torch.float64)).diff().item()
    difference = (loss(PairLogps(other, one)) - loss(PairLogps(one, other))).item()
    assert difference == pytest.approx(0.4 + gap, rel=1e-12)
