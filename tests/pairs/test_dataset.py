"""Pairs of a data set."""

import json

import pytest

from diffalign.data.records import Dropped, Pair
from diffalign.errors import DataError
from diffalign.pairs.dataset import DatasetPairs, from_memory, read_dataset

PAIR = Pair("a", "p", "x", "y")


def test_what_was_dropped_is_told():
    data = DatasetPairs((PAIR,), (Dropped("f:1", "tie"), Dropped("f:2", "tie"), Dropped("f:3", "unreadable")), "votes")
    assert data.summary() == "1 pairs on 1 prompts from votes; dropped: 2 tie, 1 unreadable"


def test_no_pairs_and_repeated_ids_are_errors():
    with pytest.raises(DataError, match="no pair is left to train on; dropped: 1 tie"):
        DatasetPairs((), (Dropped("f:1", "tie"),), "votes")
    with pytest.raises(DataError, match="'a'"):
        from_memory([PAIR, PAIR])


def test_a_file_is_read_through_the_readers(tmp_path):
    rows = [{"prompt": f"q{k}", "chosen": "good", "rejected": "bad"} for k in range(4)]
    path = tmp_path / "pairs.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    data = read_dataset(str(path), limit=3)
    assert len(data) == 3 and data[0].prompt == "q0"
