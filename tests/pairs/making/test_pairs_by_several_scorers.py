"""Pairs that several scorers choose together, by the sum of their normalised scores."""

import json

import pytest

from diffalign.data.readers import read_pairs
from diffalign.errors import UserError
from diffalign.pairs.making.make_pairs import make_pairs
from tests.pairs.making.test_make_pairs import Numbered, Table, rows


class Second(Table):
    name = "second"


def test_pairs_are_made_by_the_sum_and_the_terms_are_printed(tmp_path):
    # alone, the first prefers answer 0 and the second answer 2; together answer 1 is best
    first, second = Table(s0=1.0, s1=0.8, s2=0.0, s3=0.0), Second(s0=0.0, s1=80.0, s2=100.0, s3=0.0)
    options = {"answers": 4, "normalise": "min-max"}
    made = make_pairs(Numbered(), ["p"], [first, second], tmp_path / "sum", **options)
    (row,) = rows(made)
    assert (row["chosen"], row["rejected"]) == (" 1", " 3")
    assert (row["chosen_score"], row["rejected_score"]) == (pytest.approx(1.6), 0.0)
    lines = made.summary().splitlines()
    assert lines[2:4] == ["  = 1 x (table - 0) / 1", "  + 1 x (second - 0) / 100"]
    stored = [json.loads(line)["scores"] for line in (tmp_path / "sum" / "metadata.jsonl").read_text().splitlines()]
    assert stored[1] == {"table": pytest.approx(0.8), "second": 80.0, "sum": pytest.approx(1.6)}
    made = make_pairs(Numbered(), ["p"], [first, second], tmp_path / "w", weights={"second": 0.1}, **options)
    assert rows(made)[0]["chosen"] == " 0"


def test_a_single_scorer_keeps_its_own_unit(tmp_path):
    one = make_pairs(Numbered(), ["p"], Table(s1=5.0), tmp_path / "one", answers=2)
    listed = make_pairs(Numbered(), ["p"], [Table(s1=5.0)], tmp_path / "list", answers=2)
    assert rows(one) == rows(listed) and rows(one)[0]["chosen_score"] == 5.0 and "normalised" not in one.summary()


def test_wrong_weights_are_named_before_anything_is_sampled(tmp_path):
    policy = Numbered()
    with pytest.raises(UserError, match="weight for 'third'"):
        make_pairs(policy, ["p"], [Table(), Second()], tmp_path, weights={"third": 1.0})
    with pytest.raises(UserError, match="scorers that differ"):
        make_pairs(policy, ["p"], [Table(), Table()], tmp_path)
    assert policy.drawn == 0


def test_pairs_on_which_scorers_disagree_are_counted_and_marked(tmp_path):
    # the sum prefers answer 1 to 0 for both prompts; the second scorer disagrees about the second prompt
    first, second = Table(s0=0.0, s1=1.0, s2=0.0, s3=1.0), Second(s0=0.0, s1=1.0, s2=0.3, s3=0.0)
    made = make_pairs(Numbered(), ["p", "q"], [first, second], tmp_path, answers=2, normalise="min-max")
    assert made.disagreeing == 1 and "the scorers disagree on 1 of 2 pairs" in made.summary()
    one, other = rows(made)
    assert (one["agreement"], other["agreement"]) == (1.0, 0.5)
    assert (other["chosen_table"], other["rejected_table"]) == (1.0, 0.0)
    assert (other["chosen_second"], other["rejected_second"]) == (0.0, pytest.approx(0.3))
    pair = read_pairs(made.path).pairs[1]
    assert pair.scores["pair"] == {"agreement": 0.5} and pair.scores["rejected"]["second"] == pytest.approx(0.3)
