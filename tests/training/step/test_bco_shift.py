"""The running shift of single examples."""

import pytest
import torch

from diffalign.training.step.bco_shift import BcoShift


def met(shift, ratios, good):
    shift.update(torch.tensor(ratios, dtype=torch.float64), torch.tensor(good))
    return shift


def test_the_shift_is_midway_between_the_kinds_however_many_there_are_of_each():
    shift = met(met(BcoShift(), [1.0, 3.0], [True, True]), [2.0, -4.0], [True, False])
    assert shift.baseline().item() == pytest.approx((2.0 - 4.0) / 2)
    pooled = met(met(BcoShift("pooled"), [1.0, 3.0], [True, True]), [2.0, -4.0], [True, False])
    assert pooled.baseline().item() == pytest.approx(0.5)


def test_both_rules_agree_where_the_kinds_are_equally_many():
    ratios, good = [1.0, 3.0, -2.0, 0.5], [True, False, False, True]
    assert met(BcoShift(), ratios, good).baseline() == met(BcoShift("pooled"), ratios, good).baseline()


def test_the_shift_begins_at_zero_and_of_one_kind_is_its_mean():
    assert BcoShift().baseline().item() == 0.0
    assert met(BcoShift(), [1.0, 2.0], [False, False]).baseline().item() == 1.5


def test_the_shift_has_no_gradient_and_skips_examples_that_are_not_finite():
    shift, ratios = BcoShift(), torch.tensor([1.0, 5.0, float("nan")], requires_grad=True)
    shift.update(ratios, torch.tensor([True, False, True]))
    assert (
        shift.baseline().item() == 3.0
        and not shift.baseline().requires_grad
        and shift.baseline().dtype == torch.float32
    )


def test_several_processes_have_the_shift_of_one():
    ratios, good = torch.tensor([1.0, -2.0, 4.0, 0.5]), torch.tensor([True, False, True, False])
    whole = BcoShift()
    whole.update(ratios, good)
    parts = [BcoShift(), BcoShift()]
    sent: list[torch.Tensor] = []
    for k, part in enumerate(parts):
        part.update(ratios[2 * k : 2 * k + 2], good[2 * k : 2 * k + 2], lambda sums: sent.append(sums) or sums)
    for part in parts:
        part.load_state([0.0] * 4)
        part.update(ratios[:0], good[:0], lambda sums: sum(sent))
    assert parts[0].baseline() == parts[1].baseline() == whole.baseline()


def test_a_restored_shift_continues_exactly():
    first = met(BcoShift(), [0.1, 0.2, 0.7], [True, False, True])
    again = BcoShift()
    again.load_state(first.state())
    assert met(first, [0.3], [True]).state() == met(again, [0.3], [True]).state()
