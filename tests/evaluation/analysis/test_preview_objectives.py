"""Previews as trade-offs: gains in deviations of the base, the front of steps, and fitted over-optimisation."""

import math

import numpy as np
import pytest

from diffalign.evaluation.analysis.preview_objectives import over_optimisation_fits, preview_objectives
from diffalign.evaluation.compare.drift import Drift
from diffalign.evaluation.compare.preview_curve import PreviewCurve
from diffalign.evaluation.report.write import write_report

BASE = np.array([-1.0, 0.0, 1.0])  # deviation 1


def curve(drifts=None, **judges):
    """Judges by name with ``(role, gains by step, unit)``: scores are the base's plus the gain, times the unit."""
    count = len(next(iter(judges.values()))[1])
    scores = {name: tuple(tuple(unit * (BASE + g)) for g in gains) for name, (_, gains, unit) in judges.items()}
    return PreviewCurve(
        steps=tuple(100 * k for k in range(count)),
        roles={name: role for name, (role, _, _) in judges.items()},
        scores=scores,
        prompts=("a", "b", "c"),
        drifts=tuple(Drift(d, 0.0, "nats", 3) for d in drifts) if drifts else (None,) * count,
    )


def test_gains_are_in_deviations_of_the_base_and_the_front_is_marked():
    held = curve(a=("held-out", [0, 1, 2, 0.5], 1.0), b=("held-out", [0, 2, 1, 0.5], 100.0))
    result = preview_objectives(held)
    assert result.judges == ("a", "b") and result.names == ("0", "100", "200", "300")
    assert np.array(result.points) == pytest.approx(np.array([[0, 0], [1, 2], [2, 1], [0.5, 0.5]]))
    assert result.front == (False, True, True, False) and result.hypervolume == pytest.approx(3.0)
    assert result.sparsity == pytest.approx(2.0) and result.utility == pytest.approx(1.75, abs=1e-3)
    assert result.rows()[1] == ("100", result.points[1], True)


def test_held_out_judges_are_the_objectives_if_there_are_two_and_all_otherwise():
    three = curve(a=("held-out", [0, 1], 1.0), b=("held-out", [0, 1], 1.0), t=("trained-on", [0, -1], 1.0))
    assert preview_objectives(three).judges == ("a", "b")
    two = curve(a=("held-out", [0, 1], 1.0), t=("trained-on", [0, -1], 1.0))
    assert preview_objectives(two).judges == ("a", "t") and preview_objectives(two).front == (True, True)
    assert preview_objectives(curve(a=("held-out", [0, 1], 1.0))) is None


def test_a_judge_that_tells_no_previews_apart_is_no_objective_and_nan_leaves_its_step_out():
    flat = curve(a=("held-out", [0, 1], 1.0), b=("held-out", [0, 1], 0.0))
    assert preview_objectives(flat) is None
    holed = curve(a=("held-out", [0, math.nan, 1], 1.0), b=("held-out", [0, 1, 1], 1.0))
    assert preview_objectives(holed).names == ("0", "200")


def test_over_optimisation_is_fitted_for_each_judge_with_a_known_drift():
    drifts = [0.0, 0.5, 1.0, 2.0, 4.0, 9.0]
    roots = np.sqrt(drifts)
    held = [0.0, *(r * (1.0 - 0.9 * math.log(r)) for r in roots[1:])]
    both = curve(drifts, h=("held-out", held, 7.0), t=("trained-on", list(roots), 1.0))
    fits = over_optimisation_fits(both)
    assert (fits["h"].alpha, fits["h"].beta) == pytest.approx((1.0, 0.9)) and fits["h"].turns
    assert fits["h"].peak == pytest.approx(math.exp(2 * (1 / 0.9 - 1))) and not fits["t"].turns
    assert over_optimisation_fits(curve(h=("held-out", held, 1.0))) == {}


def test_the_page_shows_the_trade_offs_of_a_run(tmp_path):
    drifts = [0.0, 0.5, 1.0, 2.0, 4.0]
    made = curve(drifts, a=("held-out", [0, 1, 2, 1, 0.5], 1.0), b=("held-out", [0, 2, 1, 1, 0.5], 1.0))
    page = write_report(tmp_path, preview_curve=made).read_text(encoding="utf-8")
    folded = page[page.index("<details>") : page.index("</details>")]
    assert "which steps trade one judge for another" in folded and folded.count('front">yes') == 2
    assert "Hypervolume 3" in folded and "beta log d" in folded
    one = curve(None, a=("held-out", [0, 1, 2], 1.0))
    assert "<details>" not in write_report(tmp_path, preview_curve=one).read_text(encoding="utf-8")
