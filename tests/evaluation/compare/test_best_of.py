"""The best-of-n curve of a comparison, and what it says of two judges."""

import math

import pytest

from diffalign.evaluation.compare.best_of import best_of_curve
from diffalign.evaluation.compare.run import compare
from diffalign.evaluation.stats.best_of_n import kl_of_best
from tests.evaluation.fakes import Praise, TalkingPolicy


class Late(Praise):
    """Likes the seed at the end of a text."""

    def __init__(self, of):
        self.of = of

    def score(self, prompts, texts):
        import torch

        return torch.tensor([float(self.of(int(text.rsplit("<", 1)[1].rstrip(">")))) for text in texts])


def test_a_comparison_with_several_seeds_has_a_best_of_n_curve(tmp_path):
    judges = {"trained": (Late(lambda s: s), "trained-on"), "held": (Late(lambda s: -((s - 2) ** 2)), "held-out")}
    result = best_of_curve(compare(TalkingPolicy(), ["a", "b"], range(5), judges, folder=tmp_path))
    assert [step.n for step in result.steps] == [1, 2, 4] and result.picker == "trained"
    assert [step.scores["trained"] for step in result.steps] == pytest.approx([2.0, 3.0, 3.8])
    assert result.steps[0].scores["held"] == -2.0 and math.isclose(result.steps[2].drift, kl_of_best(4))
    held = [step.scores["held"] for step in result.steps]
    assert held[1] == pytest.approx(-2.0) and held[2] < held[1]


def test_disagreement_of_judges_under_selection_is_reported(tmp_path):
    judges = {"trained": (Late(lambda s: s), "trained-on"), "held": (Late(lambda s: -((s - 5) ** 2)), "held-out")}
    result = best_of_curve(compare(TalkingPolicy(), ["a"], range(8), judges, folder=tmp_path))
    roles = {"trained": "trained-on", "held": "held-out"}
    (summary,) = result.summary(roles)
    assert "best of 8 base samples by trained is worse to held than the best of 2" in summary or "best of 4" in summary
    assert not result.summary({"trained": "trained-on"})


def test_without_a_trained_on_judge_or_several_seeds_there_is_no_curve(tmp_path):
    held = {"held": (Praise(), "held-out")}
    assert best_of_curve(compare(TalkingPolicy(), ["a"], range(3), held, folder=tmp_path / "a")) is None
    both = {**held, "trained": (Praise(), "trained-on")}
    assert best_of_curve(compare(TalkingPolicy(), ["a"], [0], both, folder=tmp_path / "b")) is None
