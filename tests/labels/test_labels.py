"""Labels: what they say of a record, and the loss that is expected under them."""

import dataclasses
import functools

import pytest
import torch

from diffalign.data.records.pair import Pair
from diffalign.errors import DataError
from diffalign.labels import LABELS, Label, column, expected, hard, label_noise, seppo_gate
from diffalign.losses import LOSSES, BoundLoss
from tests.labels.rows import BOUND
from tests.losses.logps import drawn, fit, from_margins

OF_TWO = [case for case in BOUND if case.values[0].loss.is_pure_margin and not case.values[0].loss.needs_whole_batch]
"""Losses of pairs that can be swapped."""
MARGINS = [-2.0, -0.1, 0.0, 0.4, 5.0]


def _pairs(*probabilities):
    return [
        Pair(f"p{i}", "a fox", "a.png", "b.png", p, source=f"pairs.csv:{i + 2}") for i, p in enumerate(probabilities)
    ]


def _counting(bound):
    """The same loss, and the list of the times that it was asked."""
    calls = []

    @functools.wraps(bound.loss.function)
    def function(*given, **hyper):
        calls.append(given)
        return bound.loss.function(*given, **hyper)

    return BoundLoss(dataclasses.replace(bound.loss, function=function), bound.hyper), calls


def _label(*probabilities, weight=1.0):
    p = torch.tensor(probabilities, dtype=torch.float64)
    return Label(p, torch.full_like(p, weight))


def test_the_first_label_is_the_hard_one():
    assert next(iter(LABELS)) == "hard"
    assert {
        "hard": hard,
        "label_noise": label_noise,
        "column": column,
        "seppo_gate": seppo_gate,
    }.items() <= LABELS.items()


def test_each_label_gives_its_probability_of_a_record():
    pairs = _pairs(1.0, 0.7, 0.0)
    assert hard(pairs).probability.tolist() == [1.0, 1.0, 1.0]
    assert label_noise(pairs, flip=0.1).probability.tolist() == [0.9, 0.9, 0.9]
    assert column(pairs).probability.tolist() == [1.0, 0.7, 0.0]
    for label in (hard(pairs), label_noise(pairs, flip=0.1), column(pairs)):
        assert label.weight.tolist() == [1.0, 1.0, 1.0] and len(label) == 3
        assert label.probability.dtype == torch.float64


@pytest.mark.parametrize("flip", [0.5, -0.1, float("nan")])
def test_an_impossible_flip_is_refused(flip):
    with pytest.raises(ValueError, match=r"\[0, 0.5\).*leave it at 0"):
        label_noise(_pairs(1.0), flip=flip)


@pytest.mark.parametrize("probability", [70.0, -0.5, float("nan")])
def test_an_impossible_probability_names_its_row(probability):
    with pytest.raises(DataError, match=r"pairs.csv:3.*\[0, 1\].*divided by 100"):
        column(_pairs(1.0, probability))


@pytest.mark.parametrize("bound", OF_TWO)
def test_a_sure_label_changes_no_bit_and_computes_no_swapped_loss(bound):
    (loss, calls), batch = _counting(bound), fit(bound, drawn(5, dtype=torch.float32))
    assert torch.equal(expected(loss, batch, _label(1, 1, 1, 1, 1)), bound(batch))
    assert len(calls) == 1
    expected(loss, batch, _label(1, 1, 0.9, 1, 1))
    assert len(calls) == 3


def test_a_flipped_label_with_the_logistic_loss_is_its_own_flip():
    batch = from_margins(MARGINS)
    found = expected(LOSSES["logistic"].bind(beta=3.0), batch, label_noise(_pairs(*[1.0] * 5), flip=0.2))
    torch.testing.assert_close(found, LOSSES["logistic"].bind(beta=3.0, flip=0.2)(batch), rtol=1e-14, atol=0)


@pytest.mark.parametrize("loss", OF_TWO)
def test_the_opposite_certainty_is_the_swapped_pair(loss):
    batch = fit(loss, drawn(3))
    assert torch.equal(expected(loss, batch, _label(0, 0, 0)), loss(batch.swapped()))


def test_weights_scale_each_pair_independently():
    batch, loss = from_margins(MARGINS), LOSSES["hinge"].bind(beta=1.0)
    weight = torch.tensor([0.0, 1.0, 2.0, 0.5, 3.0], dtype=torch.float64)
    sure = expected(loss, batch, Label(torch.ones(5, dtype=torch.float64), weight))
    torch.testing.assert_close(sure, weight * loss(batch))
    unsure = expected(loss, batch, Label(torch.full((5,), 0.9, dtype=torch.float64), weight))
    torch.testing.assert_close(unsure, weight * (0.9 * loss(batch) + 0.1 * loss(batch.swapped())))


def test_the_expected_loss_keeps_the_dtype_of_the_loss():
    batch = drawn(2, dtype=torch.float32)
    assert expected(LOSSES["logistic"].bind(beta=1.0), batch, _label(0.9, 1.0)).dtype == torch.float32


def test_a_label_for_another_number_of_pairs_is_refused():
    with pytest.raises(ValueError, match="1 labels for 2 pairs"):
        expected(LOSSES["logistic"].bind(beta=1.0), drawn(2), _label(1.0))


def _columns(**rows):
    return [
        Pair(f"p{i}", "a fox", "a.png", "b.png", scores={"pair": dict(zip(rows, values, strict=True))})
        for i, values in enumerate(zip(*rows.values(), strict=True))
    ]


def test_columns_bring_weights_and_margins_where_they_are_named():
    pairs = _columns(w=[0.5, 2.0], gap=[0.4, -0.1])
    plain = column(pairs)
    assert plain.weight.tolist() == [1.0, 1.0] and plain.offset is None
    named = column(pairs, weight="w", margin="gap")
    assert named.weight.tolist() == [0.5, 2.0] and named.offset.tolist() == [0.4, -0.1]
    with pytest.raises(DataError, match="p0 has no number in the column 'gpa', which labels.margin names.*w, gap"):
        column(pairs, margin="gpa")
    with pytest.raises(DataError, match="p0: a weight is a factor.*cannot be negative; got -1"):
        column(_columns(w=[-1.0, 1.0]), weight="w")


def test_an_offset_is_owed_by_the_margin():
    # Wang et al. 2024: -log s(delta - mu); delta 1, mu 0.4: 0.437488, and 0.313262 without.
    loss, one = LOSSES["logistic"].bind(beta=0.5), torch.ones(1, dtype=torch.float64)
    owed = expected(loss, from_margins([2.0]), Label(one, one, offset=0.4 * one))
    assert owed.item() == pytest.approx(0.437488, abs=5e-7)
    assert expected(loss, from_margins([2.0]), Label(one, one)).item() == pytest.approx(0.313262, abs=5e-7)
    # Turned round it is owed the other way: a sure "no" with an offset is -log s(mu - delta).
    turned = expected(loss, from_margins([2.0]), Label(0 * one, one, offset=0.4 * one))
    assert turned.item() == pytest.approx(0.437488 + 0.6, abs=5e-7)
