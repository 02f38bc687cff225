"""The worked example of CONTRIBUTING: one function and one row are all that a new loss takes."""

import dataclasses
import re
from pathlib import Path

import pytest
import torch

from diffalign.losses import LOSSES, Loss
from diffalign.losses.registry import table
from tests.losses.logps import from_margins

TEXT = (Path(__file__).parents[2] / "CONTRIBUTING.md").read_text()


@pytest.fixture
def row() -> Loss:
    (block,) = re.findall(r"   ```python\n(.*?)   ```", TEXT, re.DOTALL)
    names: dict = {}
    exec(re.sub(r"^   ", "", block, flags=re.MULTILINE), names)  # noqa: S102
    return names["EXPONENTIAL"]


def test_the_example_of_contributing_is_a_loss_that_keeps_its_claims(row):
    assert "exponential" in table(*LOSSES.values(), row)
    bound = row.bind(beta=2.0)
    margins = [-1.0, 0.0, 0.5]
    expected = torch.tensor([2.0 * -m for m in margins], dtype=torch.float64).exp()
    torch.testing.assert_close(bound(from_margins(margins)), expected)
    assert bound(from_margins([0.0])).item() == bound.at_zero == 1.0
    assert bound.slope(torch.zeros(1, dtype=torch.float64)).item() == row.slope_at_zero(bound.hyper)
    assert bound(from_margins([-1e4, 1e4])).isfinite().all()


def test_it_has_the_settings_of_every_loss_of_a_margin(row):
    bent = row.bind(beta=2.0, f_divergence="js")
    assert bent(from_margins([1.0])).item() != row.bind(beta=2.0)(from_margins([1.0])).item()
    assert "exp(-beta m)" in row.explain() and "f_divergence" in row.explain()


def test_files_that_the_example_names_exist():
    from tests.losses.test_battery import _gaps

    root = Path(__file__).parents[2]
    for path in (
        "diffalign/losses/pairs/__init__.py",
        "diffalign/losses/loss.py",
        "tests/losses/plain",
        "docs/losses.md",
    ):
        assert path in TEXT and (root / path).exists()
    assert "source" in _gaps(dataclasses.replace(LOSSES["hinge"], source=" "))
