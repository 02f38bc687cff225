"""Claims about scores that are stored with the pairs: the file, and what the pairs carry afterwards."""

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diffalign.data.readers import read_pairs
from diffalign.data.records.pair import Pair, PairSet
from diffalign.data.records.score_table import (
    ScoreTable,
    ranges_of,
    read_scores,
    scores_path,
    with_scores,
    write_scores,
)
from diffalign.errors import DataError
from tests.data.fixtures import jsonl, pair_folder

ROWS = {"a": (0.1 + 0.2, -1.5), "b": (1e-320, 3.0), "ü\u2028": (2.0, 2.0)}
PAIRS = [Pair(name, "p", f"{name}0", f"{name}1", source=f"set:{n}") for n, name in enumerate(ROWS)]
finite = st.floats(allow_nan=False, allow_infinity=False)


def table(path, rows=ROWS, scorer="judge", **about):
    write_scores(path, scorer, rows, **about)
    return read_scores(path)


def test_a_table_reads_back_as_it_was_written(tmp_path):
    path = tmp_path / "scores" / "judge.jsonl"
    written = write_scores(path, "judge", ROWS, unit="logit", weights="abc")
    assert read_scores(path) == written
    assert (written.low, written.high) == (-1.5, 3.0)
    head = json.loads(path.read_text(encoding="utf-8").splitlines()[0])
    assert head == {"scorer": "judge", "unit": "logit", "weights": "abc", "pairs": 3, "low": -1.5, "high": 3.0}


@given(st.dictionaries(st.text(max_size=5), st.tuples(finite, finite), min_size=1))
def test_every_id_and_every_float_survives_the_file(tmp_path_factory, rows):
    path = tmp_path_factory.getbasetemp() / "any.jsonl"
    assert table(path, rows).rows == rows


def test_pairs_gain_the_scores_of_all_tables_and_keep_their_own(tmp_path):
    pairs = [replace(pair, scores={"chosen": {"own": 1.0}, "pair": {"seed": 7.0}}) for pair in PAIRS]
    tables = [table(tmp_path / "a.jsonl"), table(tmp_path / "b.jsonl", dict.fromkeys(ROWS, (9.0, 8.0)), "other")]
    dataset = with_scores(PairSet(pairs, format="trl", source="set"), tables)
    assert dataset.pairs[0].scores == {
        "chosen": {"own": 1.0, "judge": ROWS["a"][0], "other": 9.0},
        "rejected": {"judge": -1.5, "other": 8.0},
        "pair": {"seed": 7.0},
    }
    assert dataset.ranges == {"judge": (-1.5, 3.0), "other": (8.0, 9.0)}
    assert (dataset.format, dataset.source) == ("trl", "set")
    assert pairs[0].scores == {"chosen": {"own": 1.0}, "pair": {"seed": 7.0}}


def test_the_range_is_that_of_the_whole_table_however_few_pairs_are_taken(tmp_path):
    assert with_scores(PAIRS[2:], [table(tmp_path / "a.jsonl")]).ranges == {"judge": (-1.5, 3.0)}


def test_pairs_that_were_not_judged_are_counted_and_the_command_is_named(tmp_path):
    some = table(tmp_path / "a.jsonl", {"a": ROWS["a"]}, "clip:my model")
    with pytest.raises(DataError, match=r"2 of 3 pairs.*set:1.*diffalign score 'my set' --scorer 'clip:my model'"):
        with_scores(PairSet(PAIRS, source="my set"), [some])


def test_tables_of_one_scorer_serve_as_one_unless_they_contradict(tmp_path):
    parts = [table(tmp_path / f"{name}.jsonl", {name: row}) for name, row in ROWS.items()]
    assert with_scores(PAIRS, parts) == with_scores(PAIRS, [table(tmp_path / "whole.jsonl")])
    with pytest.raises(DataError, match="differ on the same pairs"):
        with_scores(PAIRS, [*parts, table(tmp_path / "c.jsonl", {"a": (0.0, 0.0)})])
    with pytest.raises(DataError, match="different weights"):
        with_scores(PAIRS, [*parts, table(tmp_path / "d.jsonl", weights="other")])


def test_scores_in_columns_give_ranges_too(tmp_path):
    rows = [{"prompt": "p", "chosen": f"a{n}", "rejected": f"b{n}", "chosen_x": n, "rejected_x": -n} for n in range(3)]
    rows[2] |= {"chosen_alone": 5}
    dataset = read_pairs(jsonl(tmp_path / "a.jsonl", rows))
    assert dataset.ranges == {"x": (-2.0, 2.0)} == ranges_of(dataset.pairs)
    assert read_pairs(tmp_path / "a.jsonl", limit=2).ranges == {"x": (-1.0, 1.0)}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda lines: lines[:-1], "states 3 pairs and holds 2"),
        (lambda lines: lines[1:], "line 1.*no 'scorer'"),
        (lambda lines: [*lines[:2], lines[1], *lines[3:]], "line 3.*'a' occurs twice"),
        (lambda lines: [*lines[:2], lines[2][:20]], "line 3"),
        (lambda lines: [*lines[:3], '{"id": "c", "chosen": NaN, "rejected": 0}'], "line 4.*finite number, got nan"),
        (lambda lines: [*lines[:3], '{"id": "c", "chosen": 99, "rejected": 0}'], r"line 4.*outside \[-1.5, 3.0\]"),
        (lambda lines: [], "line 1"),
    ],
)
def test_a_file_that_is_not_whole_names_the_line(tmp_path, change, says):
    path = tmp_path / "a.jsonl"
    table(path)
    path.write_text("\n".join(change(path.read_text(encoding="utf-8").splitlines())), encoding="utf-8")
    with pytest.raises(DataError, match=says):
        read_scores(path)


def test_a_missing_file_is_an_error_with_the_command_to_type(tmp_path):
    table(tmp_path / "pickscore.jsonl")
    with pytest.raises(DataError, match="Did you mean 'pickscore.jsonl'.*diffalign score"):
        read_scores(tmp_path / "pikscore.jsonl")
    (tmp_path / "clip.jsonl.part").write_text("")
    with pytest.raises(DataError, match="not complete yet"):
        read_scores(tmp_path / "clip.jsonl")


def test_scores_are_stored_next_to_the_data_under_a_portable_name(tmp_path):
    file = jsonl(tmp_path / "votes.jsonl", [{}])
    name = "clip_openai_clip-vit-large-patch14"
    assert scores_path(tmp_path, "clip:openai/clip-vit-large-patch14") == tmp_path / "scores" / f"{name}.jsonl"
    assert scores_path(tmp_path, "clip", "test") == tmp_path / "scores" / "clip-test.jsonl"
    assert scores_path(file, "clip") == tmp_path / "votes.scores.clip.jsonl"
    assert scores_path("owner/name", "clip") is None


def test_scores_are_never_read_as_pairs(tmp_path):
    rows = [{"prompt": "p", "chosen": "a", "rejected": "b"}]
    file = jsonl(tmp_path / "set" / "votes.jsonl", rows)
    before = read_pairs(file.parent).pairs
    for source in (file, file.parent):
        table(scores_path(source, "judge"))
    assert read_pairs(file.parent).pairs == before
    folder = pair_folder(tmp_path / "scores")
    assert len(read_pairs(folder)) == 3


def test_a_number_of_the_example_as_a_whole_goes_under_the_pair(tmp_path):
    path = tmp_path / "weight.jsonl"
    written = write_scores(path, "weight", {"a": (0.5,), "b": (2.0,)}, roles=("pair",))
    assert read_scores(path) == written and '"roles": ["pair"]' in path.read_text().splitlines()[0]
    pairs = with_scores([Pair(name, "p", "x", None, scores={"pair": {"seed": 1}}) for name in "ab"], [written])
    assert [pair.scores for pair in pairs.pairs] == [{"pair": {"seed": 1, "weight": w}} for w in (0.5, 2.0)]
    assert "weight" not in pairs.ranges
    other = ScoreTable("weight", {"a": (1.0, 2.0), "b": (1.0, 2.0)}, 1.0, 2.0)
    with pytest.raises(DataError, match="different roles"):
        with_scores(pairs, [written, other])
