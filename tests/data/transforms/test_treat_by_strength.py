"""Votes and what they do to labels: the published numbers, buckets, and what each treatment writes."""

import math

import pytest

from diffalign.data.records.pair import Pair
from diffalign.data.records.score_table import ScoreTable
from diffalign.data.transforms import Cuts, Votes, collect_votes, treat_by_strength
from diffalign.errors import DataError, UserError
from tests.data.transforms.sets import texts

D = (0.5, -0.2, 1.1, 0.3, 0.4, -0.1, 0.9, 0.2, 0.6, 0.3)


def table(gaps, name="rm"):
    rows = {f"id{n}": (gap, 0.0) for n, gap in enumerate(gaps)}
    return ScoreTable(name, rows, min(gaps), max(gaps), path="rm.jsonl")


def test_mean_and_deviation_of_ten_votes_are_the_published_ones():
    votes = collect_votes([Pair("id0", "p", "a", "b")], [table([d]) for d in D])
    assert votes.judges == 10
    assert votes.means[0] == pytest.approx(0.400000, abs=5e-7)
    assert votes.deviations[0] == pytest.approx(0.382099, abs=5e-7)


def test_files_of_one_scorers_name_are_several_judges_and_columns_are_judges_too():
    lines = texts(2)
    pairs = [line.pair for line in lines]
    votes = collect_votes(pairs, [table([1.0, 2.0]), table([3.0, -2.0])], ["judge1"])
    gap = pairs[0].scores["chosen"]["judge1"] - pairs[0].scores["rejected"]["judge1"]
    assert votes.judges == 3 and votes.means[0] == pytest.approx((1 + 3 + gap) / 3)


def test_judges_in_other_units_weigh_alike_when_they_are_scaled():
    pairs = [line.pair for line in texts(3)]
    small, large = [0.1, -0.2, 0.3], [-100.0, 50.0, 200.0]
    votes = collect_votes(pairs, [table(small), table(large)], scale="deviation")
    size = lambda row: math.sqrt(sum(d * d for d in row) / 3)
    assert votes.means == pytest.approx(
        [(a / size(small) + b / size(large)) / 2 for a, b in zip(small, large, strict=True)]
    )
    rescaled = collect_votes(pairs, [table([7 * d for d in small]), table(large)], scale="deviation")
    assert rescaled.means == pytest.approx(votes.means)
    assert collect_votes(pairs, [table([0.0] * 3)], scale="deviation").means == [0.0] * 3


def test_lowest_next_and_highest_shares_are_the_buckets():
    means = [0.9, -0.5, 0.1, 0.3, 0.2, 2.0, 0.4, 0.5, 0.6, 0.7]
    found = Cuts().buckets(means)
    assert [n for n, b in enumerate(found) if b == "wrong"] == [1, 2]
    assert [n for n, b in enumerate(found) if b == "ambiguous"] == [3, 4]
    assert [n for n, b in enumerate(found) if b == "top"] == [5]
    assert found.count("normal") == 5


def test_values_may_be_the_cuts_and_equal_means_go_by_their_order():
    means = [-0.5, -0.1, 0.0, 0.2, 3.0]
    cuts = Cuts(wrong_below=0.0, ambiguous_below=0.2, top_above=1.0)
    assert cuts.buckets(means) == ["wrong", "wrong", "ambiguous", "normal", "top"]
    assert Cuts(wrong=0.5, ambiguous=0.0, top=0.0).buckets([1.0] * 4) == ["wrong", "wrong", "normal", "normal"]
    assert Cuts(wrong=0, ambiguous=0, top=0).buckets(means) == ["normal"] * 5
    assert Cuts(wrong=0.8, ambiguous=0.8, top=0.5).buckets(means) == ["wrong"] * 4 + ["ambiguous"]


def made(means, **settings):
    lines = texts(len(means))
    outcome = treat_by_strength(lines, Votes(means, [0.1] * len(means)), **settings)
    return lines, list(outcome.rows), outcome


def test_each_bucket_is_treated_and_the_order_stays():
    means = [0.9, -0.5, 0.1, 0.3, 0.2, 2.0, 0.4, 0.5, 0.6, 0.7]
    lines, done, outcome = made(means)
    assert [line.pair.id for line in done] == [line.pair.id for line in lines]
    wrong, ambiguous, normal, top = done[1], done[3], done[0], done[5]
    assert wrong.columns["bucket"] == "wrong" and wrong.pair.chosen == lines[1].pair.rejected
    assert wrong.pair.scores["pair"] == {"strength_mean": 0.5, "strength_std": 0.1, "margin": 0.0, "flipped": 1.0}
    assert wrong.pair.scores["chosen"] == lines[1].pair.scores["rejected"] and wrong.pair.probability == 1.0
    for line, mean in ((ambiguous, 0.3), (top, 2.0)):
        assert line.pair.probability == 0.9 and line.pair.scores["pair"]["margin"] == mean
        assert line.pair.scores["pair"]["flipped"] == 0.0
    assert normal.pair.probability == 1.0 and normal.pair.scores["pair"]["margin"] == 0.0
    assert normal.columns == {**lines[0].columns, "bucket": "normal"}
    assert "contradict 1 of 10 labels; 2 wrong (flip), 2 ambiguous (soft+margin)" in outcome.notes[0]


def test_treatments_are_choices():
    means = [-1.0, 0.1, 0.5, 2.0]
    cuts = Cuts(wrong_below=0.0, ambiguous_below=0.2, top_above=1.0)
    treat = {"wrong": "drop", "ambiguous": "soft", "top": "margin"}
    _, done, outcome = made(means, cuts=cuts, treat=treat, soft=0.3, margin_scale=0.5)
    assert [line.pair.id for line in done] == ["id1", "id2", "id3"]
    assert [line.pair.probability for line in done] == [0.7, 1.0, 1.0]
    assert [line.pair.scores["pair"]["margin"] for line in done] == [0.0, 0.0, 1.0]
    assert outcome.dropped[0].detail == "bucket wrong, mean -1"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"treat": {"wrong": "flipp"}}, "Did you mean 'flip'"),
        ({"treat": {"tops": "keep"}}, "Did you mean 'top'"),
        ({"soft": 0.6}, r"in \[0, 0.5\]"),
        ({"margin_scale": 0.0}, "above 0"),
        ({"cuts": Cuts(top=1.5)}, r"top is a share of the pairs"),
    ],
)
def test_settings_out_of_their_range_are_errors(settings, message):
    with pytest.raises(UserError, match=message):
        made([0.1, 0.2], **settings)


def test_missing_votes_are_errors():
    pairs = [line.pair for line in texts(2)]
    with pytest.raises(DataError, match="t.jsonl:1 has no score by 'rm' in rm.jsonl"):
        collect_votes(pairs, [table([1.0])])
    with pytest.raises(DataError, match="Did you mean 'judge1'"):
        collect_votes(pairs, [], ["judge11"])
    with pytest.raises(DataError, match="strength needs judges"):
        collect_votes(pairs, [])
