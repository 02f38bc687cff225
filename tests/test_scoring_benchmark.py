"""The scoring benchmark compares loops that give the same scores."""

from __future__ import annotations

import pytest

from benchmarks.measure import Measurement
from benchmarks.scoring import EMBEDDED, PLAIN, largest_difference, make_images, make_models, prepare_passes, table


def test_both_loops_give_the_same_scores_and_passes_leave_nothing_behind(tmp_path):
    make_images(tmp_path / "images", 6, 64)
    models = make_models(tmp_path)
    before = sorted(path.name for path in (tmp_path / "images").iterdir())
    for model in models.values():
        assert largest_difference(tmp_path / "images", model) < 1e-5
    specs = [f"clip:{EMBEDDED}", *PLAIN]
    (one,), several = (prepare_passes(tmp_path / "images", passes)() for passes in ([specs], [[s] for s in specs]))
    assert one == pytest.approx([score for column in several for score in column])
    assert sorted(path.name for path in (tmp_path / "images").iterdir()) == before


def test_the_table_shows_each_ratio_with_its_bar():
    names = ["raw, a", "diffalign, a", "one pass", "one after another"]
    results = {name: Measurement([seconds]) for name, seconds in zip(names, (1.0, 2.0, 1.0, 3.0), strict=True)}
    text = table(results, ["a"], 10)
    assert "5.0   0.50   >= 0.95" in text and "10.0   3.00   > 1" in text
