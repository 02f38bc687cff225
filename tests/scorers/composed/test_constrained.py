"""Constrained scores: what keeps the bounds beats what does not, and the nearer of two that do not wins."""

import math

import pytest
import torch

from diffalign.errors import ConfigError, DataError, UserError
from diffalign.scorers import load_scorer, scorer_medium
from diffalign.scorers.composed.constrained import Bound, Constrained
from tests.evaluation.fakes import Praise
from tests.scorers.composed.test_ensemble import Words

TEXTS = ["good good good", "good", "good good good good good", "no no no no no no", "bad"]
PROMPTS = ["p"] * 5


def test_of_samples_within_the_bounds_the_objective_decides_and_the_others_follow_by_distance():
    scorer = Constrained(Praise(), [Bound(Words(), at_least=2, at_most=4)])
    # words 3, 1, 5, 6, 1: only the first keeps the bounds
    assert scorer.score(PROMPTS, TEXTS).tolist() == [3.0, -1.0, -1.0, -2.0, -1.0]
    assert scorer.range == (-math.inf, 9e9)


def test_violations_are_added_in_their_scales_below_a_stated_lowest_score():
    bounds = [Bound(Words(), at_most=2, scale=2.0), Bound(Praise(), at_least=2)]
    scorer = Constrained(Praise(), bounds, lowest=-5.0)
    assert scorer.score(PROMPTS, TEXTS).tolist() == [-5.5, -6.0, -6.5, -9.0, -7.0]


def test_a_penalty_trades_instead():
    scorer = Constrained(Praise(), [Bound(Words(), at_most=2)], penalty=0.5)
    assert scorer.score(PROMPTS, TEXTS).tolist() == [2.5, 1.0, 3.5, -2.0, 0.0]


def test_every_kept_bound_beats_every_violated_one():
    texts = [" ".join(["good"] * a + ["so"] * b) for a in range(6) for b in range(6)]
    scorer = Constrained(Praise(), [Bound(Words(), at_least=3, at_most=6)])
    scores = scorer.score(["p"] * len(texts), texts)
    kept = torch.tensor([3 <= len(text.split()) <= 6 for text in texts])
    assert scores[kept].min() > scores[~kept].max()
    praise = Praise().score(["p"] * len(texts), texts)
    assert torch.equal(scores[kept], praise[kept].float())


def test_nan_stays_with_its_sample_and_a_batch_scores_as_one_at_a_time():
    class Holed(Praise):
        def score(self, prompts, texts):
            return torch.tensor([math.nan if text == "bad" else 1.0 for text in texts])

    for objective, bound in ((Holed(), Words()), (Words(), Holed())):
        scorer = Constrained(objective, [Bound(bound, at_least=1)])
        assert scorer.score(PROMPTS, TEXTS).isnan().tolist() == [False] * 4 + [True]
    scorer = Constrained(Praise(), [Bound(Words(), at_most=2)])
    assert torch.equal(torch.cat([scorer.score(["p"], [t]) for t in TEXTS]), scorer.score(PROMPTS, TEXTS))
    assert scorer.score([], []).shape == (0,)


def test_an_objective_below_its_stated_lowest_is_refused():
    scorer = Constrained(Praise(), [Bound(Words(), at_most=9)], lowest=1.0)
    with pytest.raises(DataError, match="praise gave 0, below the lowest score"):
        scorer.score(PROMPTS, TEXTS)


def test_a_file_loads_as_a_scorer(tmp_path):
    path = tmp_path / "bounds.yaml"
    path.write_text("objective: sentiment\nsubject_to:\n  - {scorer: length, at_most: 4, scale: 10}\n")
    scorer = load_scorer(f"constrained:{path}")
    assert scorer.medium == "text" == scorer_medium(f"constrained:{path}")
    scores = scorer.score(["p", "p"], ["I love it", "I love it, really, very, very much indeed"])
    assert scores[0] == load_scorer("sentiment").score(["p"], ["I love it"])[0]
    assert scores[1] == pytest.approx(-1.0 - 4 / 10)
    first = scorer.weights
    path.write_text("objective: sentiment\nsubject_to:\n  - {scorer: length, at_most: 5, scale: 10}\n")
    assert load_scorer(f"constrained:{path}").weights != first


@pytest.mark.parametrize(
    "content, message",
    [
        ("objective: sentiment", "lacks subject_to"),
        ("objective: sentiment\nsubject_to: []", "one entry or more"),
        ("objective: sentiment\nsubject_to: [{scorer: length}]", "has no bound"),
        ("objective: sentiment\nsubject_to: [{scorer: length, at_leats: 3}]", "Did you mean 'at_least'"),
        ("objective: sentiment\nsubject_to: [{scorer: length, at_least: 3, at_most: 2}]", "at least 3 and at most 2"),
        ("objective: sentiment\nsubject_to: [{scorer: length, at_most: 2, scale: -1}]", "scale of length is above 0"),
        ("objective: 3\nsubject_to: [{scorer: length, at_most: 2}]", "objective is a scorer"),
        ("objective: sentiment\nsubject_to: [{scorer: background:red, at_least: 1}]", "different media"),
        ("objective: sentiment\nsubject_to: [{scorer: length, at_most: 2}]\npenalty: 0", "penalty is above 0"),
        ("objective: sentiment\nsubject_to: [{scorer: length, at_most: 2}]\npenalty: 1\nlowest: 0", "State one of"),
        ("objective: sentiment\nsubject_to: [{scorer: length, at_most: many}]", "at_most is a finite number"),
    ],
)
def test_wrong_files_are_named_before_anything_is_scored(tmp_path, content, message):
    (tmp_path / "bounds.yaml").write_text(content)
    with pytest.raises(UserError, match=message):
        load_scorer(f"constrained:{tmp_path / 'bounds.yaml'}")


def test_an_objective_without_a_lowest_score_needs_one():
    class Open(Praise):
        range = (-math.inf, math.inf)

    with pytest.raises(ConfigError, match="State lowest"):
        Constrained(Open(), [Bound(Words(), at_most=2)])
    assert Constrained(Open(), [Bound(Words(), at_most=9)], lowest=-1.0).score(PROMPTS, TEXTS)[0] == 3
