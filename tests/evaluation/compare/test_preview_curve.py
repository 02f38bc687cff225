"""Scores of previews step by step: over-optimisation is reported, other changes are not."""

import math
from contextlib import suppress

import pytest

from diffalign.evaluation.compare.drift import Drift
from diffalign.evaluation.compare.preview_curve import DRIFT_FILE, append_drift, read_preview_curve
from tests.evaluation.fakes import Praise, Redness

PROMPTS, SEEDS = [f"p{k}" for k in range(10)], [0, 1]


class Blame(Praise):
    """Minus the number of "bad" in a text."""

    def score(self, prompts, texts):
        import torch

        return torch.tensor([-float(text.split().count("bad")) for text in texts])


def previews(folder, course):
    """Writes texts with the given numbers of "good" and "bad" at each step."""
    for step, (good, bad) in course.items():
        place = folder / "previews" / f"step-{step:08d}"
        place.mkdir(parents=True)
        for k in range(len(PROMPTS)):
            for seed in SEEDS:
                (place / f"{k:02d}-seed-{seed}.txt").write_text("good " * good + "bad " * bad + f"{k} {seed}")


JUDGES = {"praise": (Praise(), "trained-on"), "blame": (Blame(), "held-out")}


def course(folder, judges=None, medium="text"):
    return read_preview_curve(folder, PROMPTS, SEEDS, JUDGES if judges is None else judges, medium)


def test_over_optimisation_is_reported_with_the_best_step(tmp_path):
    previews(tmp_path, {0: (0, 2), 50: (1, 1), 100: (3, 4)})
    append_drift(tmp_path, 50, Drift(0.5, 0.1, "nats per answer", 20))
    append_drift(tmp_path, 50, Drift(0.25, 0.1, "nats per answer", 20))
    result = course(tmp_path)
    (summary,) = result.summary()
    assert "from step 50 (drift 0.25) to the end praise (trained on) rose, while blame (held out) fell" in summary
    assert "in 0 % of 20 comparisons" in summary and "about step 50" in summary
    assert result.steps == (0, 50, 100) and [result.mean("blame", k) for k in range(3)] == [-2, -1, -4]
    assert result.win("praise", 2).rate == 1.0 and result.drifts[0] is None


@pytest.mark.parametrize(
    "steps",
    [{0: (0, 2), 50: (1, 1), 100: (3, 0)}, {0: (0, 2), 50: (5, 1), 100: (3, 4)}, {0: (0, 2), 50: (1, 2)}],
    ids=["both rise", "both fall", "the held-out one stays"],
)
def test_other_changes_are_not_called_over_optimisation(tmp_path, steps):
    previews(tmp_path, steps)
    assert course(tmp_path).summary() == []


def test_a_run_without_enough_previews_or_judges_has_no_curve(tmp_path):
    previews(tmp_path, {0: (0, 1)})
    assert course(tmp_path) is None
    previews(tmp_path, {5: (0, 1), 9: (0, 1)})
    (tmp_path / "previews" / "step-00000009" / "00-seed-0.txt").unlink()
    assert course(tmp_path).steps == (0, 5), "a step that was cut short does not count"
    assert course(tmp_path, {"red": (Redness(), "held-out")}) is None, "a judge of images"
    assert course(tmp_path, {}) is None


def test_a_truncated_drift_line_and_an_infinite_error_are_read(tmp_path):
    previews(tmp_path, {0: (0, 1), 9: (1, 1)})
    append_drift(tmp_path, 0, Drift(0.0, math.inf, "nats per answer", 1))
    with (tmp_path / DRIFT_FILE).open("a") as file, suppress(OSError):
        file.write('{"step": 9, "val')
    assert math.isinf(course(tmp_path).drifts[0].error) and course(tmp_path).drifts[1] is None
