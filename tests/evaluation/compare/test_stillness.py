"""Scores that prefer still clips are not praised where the motion was lost."""

from dataclasses import replace

import pytest

from diffalign.errors import UserError
from diffalign.evaluation.compare.load_judges import load_judges
from diffalign.evaluation.compare.preview_curve import PreviewCurve
from diffalign.evaluation.compare.run import compare
from diffalign.evaluation.compare.stillness import stillness_cautions
from diffalign.evaluation.report.verdict import verdict_of
from tests.evaluation.fakes import Praise, TalkingPolicy

LOST = {"flicker": (0.95, 0.99), "flow_dynamic:dis": (0.8, 0.4)}


def test_flicker_that_rises_while_motion_falls_is_a_caution_with_both_numbers():
    (caution,) = stillness_cautions(LOST)
    assert caution.startswith("flicker rose while flow_dynamic:dis fell by 50 %, from 0.8 to 0.4")
    both = stillness_cautions({**LOST, "neighbour_consistency:clip": (0.5, 0.6), "flow_motion:dis": (0.1, 0.02)})
    assert len(both) == 2 and both[0].startswith("flicker and neighbour_consistency:clip rose")


@pytest.mark.parametrize(
    "means",
    [
        {**LOST, "flow_dynamic:dis": (0.8, 0.8)},
        {**LOST, "flow_dynamic:dis": (0.8, 0.9)},
        {**LOST, "flow_dynamic:dis": (0.0, 0.0)},
        {**LOST, "flicker": (0.99, 0.95)},
        {"flow_dynamic:dis": (0.8, 0.4), "frames:clip": (0.2, 0.3)},
        {"flicker": (0.95, 0.99)},
    ],
)
def test_other_changes_are_no_caution(means):
    assert stillness_cautions(means) == []


def test_the_verdict_of_a_comparison_warns(tmp_path):
    result = compare(TalkingPolicy(), ["p", "q"], [0, 1], {"a": (Praise(), "held-out")}, folder=tmp_path)
    (first,) = result.judgements
    judgements = tuple(
        replace(first, name=name, scorer=name, base_mean=before, aligned_mean=after)
        for name, (before, after) in LOST.items()
    )
    warned = " ".join(verdict_of(replace(result, judgements=judgements)).sentences)
    assert "less moves in them" in warned
    assert "less moves in them" not in " ".join(verdict_of(result).sentences)


def test_the_previews_of_a_run_warn_from_the_first_to_the_last():
    scores = {
        "flicker": ((0.9, 0.9), (0.8, 0.8), (0.99, 0.99)),
        "flow_motion:dis": ((0.2, 0.2), (0.3, 0.3), (0.1, 0.1)),
    }
    curve = PreviewCurve((0, 50, 100), dict.fromkeys(scores, "held-out"), scores, ("p", "q"), (None,) * 3)
    (caution,) = curve.summary()
    assert "flow_motion:dis fell by 50 %" in caution
    shorter = replace(
        curve, steps=(0, 50), scores={name: rows[:2] for name, rows in scores.items()}, drifts=(None,) * 2
    )
    assert shorter.summary() == []


def test_flicker_alone_is_refused_as_a_judge():
    with pytest.raises(UserError, match="flicker alone prefers clips that stand still"):
        load_judges(["flicker"], ["frames:background:red"])
    pytest.importorskip("cv2")
    assert set(load_judges(["flicker"], ["flow_dynamic"])) == {"flicker", "flow_dynamic"}
