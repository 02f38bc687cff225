"""A label that the row's own scores do not support is named, and left out on request."""

import pytest

from diffalign.data.check.run import check_pairs
from diffalign.data.readers import read_pairs
from diffalign.data.records.label_agreement import find_disagreement, score_gap
from diffalign.data.records.pair import DISPUTED, TIE, Pair
from diffalign.errors import DataError
from diffalign.pairs.dataset import read_dataset
from diffalign.pairs.lists import lists
from diffalign.pairs.singles import singles
from diffalign.pairs.winners import winners
from tests.data.fixtures import jsonl


def scored(tmp_path, *scores, name="score", **columns):
    rows = [
        {"prompt": f"{n}? ", "chosen": "Yes.", "rejected": "No.", f"{name}_chosen": a, f"{name}_rejected": b, **columns}
        for n, (a, b) in enumerate(scores)
    ]
    return jsonl(tmp_path / "a.jsonl", rows)


def findings(path, name):
    report = check_pairs(read_pairs(path))
    return {f.what: (f.severity, f.count, f.examples) for f in report.findings if f"'{name}'" in f.what}


def test_equal_and_contradicting_scores_are_found_by_the_check(tmp_path):
    path = scored(tmp_path, (8, 8), (2, 9), (9, 1))
    assert findings(path, "score") == {
        "pairs whose scores 'score' are equal": ("warning", 1, ("a.jsonl:1",)),
        "pairs whose scores 'score' favour the rejected one": ("warning", 1, ("a.jsonl:2",)),
    }
    assert findings(scored(tmp_path, (2, 9), name="judge"), "judge")  # a judge may disagree
    assert {severity for severity, *_ in findings(tmp_path / "a.jsonl", "judge").values()} == {"note"}
    assert not findings(scored(tmp_path, (9, 1)), "score")


def test_ranks_are_better_where_they_are_lower_and_a_probability_may_swap_the_sides(tmp_path):
    assert not findings(scored(tmp_path, (1, 3), name="rank"), "rank")
    assert findings(scored(tmp_path, (3, 1), name="rank"), "rank")
    scores = {"chosen": {"score": 1.0}, "rejected": {"score": 3.0}}
    assert score_gap(Pair("a", "p", "c", "r", 0.25, scores), "score") == 2.0
    assert score_gap(Pair("a", "p", "c", "r", 0.5, scores), "score") is None
    assert not find_disagreement([Pair("a", "p", "c", None, scores=scores)])


def test_the_header_names_disputed_labels_and_columns_that_are_not_read(tmp_path):
    data = read_dataset(str(scored(tmp_path, (8, 8), (2, 9), (9, 1), note="hm")))
    expected = "; not read: note; labels against score: 1 are equal, 1 favour the rejected one"
    assert data.summary().endswith(expected)
    assert singles(data).summary().endswith(expected) and winners(data).summary().endswith(expected)
    row = {"prompt": "p ", "completions": ["a", "b", "c"], "scores": [1, 2, 3], "note": "hm"}
    ranked = read_dataset(str(jsonl(tmp_path / "lists.jsonl", [row])))
    assert lists(ranked).summary().endswith("; not read: note")


def test_disputed_pairs_are_left_out_on_request(tmp_path):
    dataset = read_pairs(scored(tmp_path, (8, 8), (2, 9), (9, 1)), agree_with="score")
    assert [pair.prompt for pair in dataset.pairs] == ["2? "]
    assert [(row.reason, row.detail) for row in dataset.dropped] == [
        (TIE, "score 8 against 8"),
        (DISPUTED, "score 2 against 9"),
    ]
    with pytest.raises(DataError, match="has no score 'scores'. Did you mean 'score'"):
        read_pairs(scored(tmp_path, (8, 8)), agree_with="scores")
