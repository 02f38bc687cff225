"""A loss function called directly refuses what its row refuses; a bound loss is checked once, when it is made."""

import math

import pytest
import torch

from diffalign.losses import LOSSES, BoundLoss, hyperparameters, kto, logistic
from diffalign.losses.ranges import Range
from tests.losses.logps import fit, from_margins
from tests.losses.plain import PLAIN


def impossible(limit):
    """Values outside a range, and some that are no numbers."""
    low = limit.low - 1.0 if limit.low_inclusive else limit.low
    high = limit.high if not limit.high_inclusive else limit.high + 1.0
    return [low, high, math.nan, "much", True, 1e300, 1e-320]


LIMITED = [pytest.param(row, name, id=f"{row.name}-{name}") for row in LOSSES.values() for name in row.limits]
WORDS = [
    pytest.param(row, name, id=f"{row.name}-{name}")
    for row in LOSSES.values()
    for name, default in hyperparameters(row).items()
    if name in row.choices or isinstance(default, bool)
]


def usual(row):
    """Hyperparameters that the row accepts, without the settings that losses share."""
    return dict(row.bind(**PLAIN[row.name].settings[0]).arguments)


@pytest.mark.parametrize("row, name", LIMITED)
def test_a_direct_call_with_a_number_out_of_range_is_refused_in_the_words_of_the_row(row, name):
    for value in impossible(row.limits[name]):
        with pytest.raises(ValueError, match=f"^{name} is .*got .*\\. {row.limits[name].advice[:5]}"):
            row.function(None, **{**usual(row), name: value})


@pytest.mark.parametrize("row, name", WORDS)
def test_a_direct_call_with_a_word_or_a_switch_that_is_none_is_refused(row, name):
    with pytest.raises(ValueError, match="7"):
        row.function(None, **{**usual(row), name: 7})


@pytest.mark.parametrize("row", LOSSES.values(), ids=LOSSES)
def test_a_direct_call_equals_the_bound_loss(row):
    loss = row.bind(**PLAIN[row.name].settings[0])
    batch = fit(loss, from_margins([-1.0, 0.5]))
    given = loss.margin(batch) if row.takes == "margin" else loss.with_settings(batch)
    assert torch.equal(row.function(given, **loss.arguments), loss(batch))


def test_a_bound_loss_is_checked_once_when_it_is_made(monkeypatch):
    checks = []
    check = Range.check
    monkeypatch.setattr(Range, "check", lambda self, name, value: checks.append(name) or check(self, name, value))
    loss = LOSSES["logistic"].bind(beta=0.1)
    made = len(checks)
    assert made
    loss(from_margins([0.0]))
    loss.slope(torch.zeros(1))
    assert len(checks) == made
    logistic(torch.zeros(1), beta=0.1)
    assert len(checks) > made
    with pytest.raises(ValueError, match="beta is the inverse temperature"):
        BoundLoss(loss.loss, {**loss.hyper, "beta": -1.0})


def test_a_missing_or_unknown_keyword_is_refused_by_python():
    with pytest.raises(TypeError, match="beta"):
        kto(None)
    with pytest.raises(TypeError, match="betta"):
        logistic(torch.zeros(1), betta=0.1)
