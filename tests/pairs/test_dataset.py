"""Pairs of a dataset."""

import json
from dataclasses import replace

import pytest

from diffalign.data.records.conversation import Conversation, Message
from diffalign.data.records.memmap import MappedPairs
from diffalign.data.records.pair import Dropped, Pair
from diffalign.errors import DataError
from diffalign.pairs.dataset import DatasetPairs, dataset, from_memory, read_dataset
from diffalign.pairs.singles import singles
from diffalign.pairs.winners import winners
from tests.data.fixtures import turns

PAIR = Pair("a", "p", "x", "y")


def test_the_summary_counts_dropped_rows():
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


def test_a_lazy_sequence_stays_lazy():
    pairs = [Pair(str(n), f"q{n % 3}", f"a{n}", f"b{n}") for n in range(9)]
    lazy = MappedPairs(pairs)
    data = DatasetPairs(lazy)
    assert data.pairs is lazy and from_memory(lazy).pairs is lazy and dataset(data) is data
    assert data.summary() == from_memory(iter(pairs)).summary() == "9 pairs on 3 prompts from pairs in memory"
    assert data[4] == pairs[4]
    for source in (winners, singles):
        assert list(source(data).pairs) == list(source(from_memory(pairs)).pairs)


def test_single_examples_and_rows_with_only_a_winner_are_no_comparisons():
    judged = [Pair(str(n), "q", f"a{n}", None, desirable=bool(n)) for n in range(2)]
    with pytest.raises(DataError, match="judged one by one.*--set pairs=singles --set loss=kto"):
        dataset(DatasetPairs(judged))
    with pytest.raises(DataError, match="only winners.*--set pairs=winners"):
        dataset(DatasetPairs(judged[1:]))
    assert DatasetPairs(judged).summary().startswith("2 examples on 1 prompts")


def test_prompts_that_are_conversations_are_counted_too():
    talk = Conversation.of(turns("Sky?"))
    pairs = [Pair(str(n), talk, "a", "b") for n in range(2)]
    assert DatasetPairs(pairs).summary().startswith("2 pairs on 1 prompts")


@pytest.mark.parametrize("change", [{"prompt": "q\ud83d"}, {"chosen": Conversation((Message("assistant", "\ude00"),))}])
def test_pairs_in_memory_with_half_a_character_are_refused_before_training(change):
    pair = replace(Pair("a", "q", "b", "c"), **change)
    with pytest.raises(DataError, match=r"pair 'a' cannot be trained on: \\ud[0-9a-f]{3} alone is half"):
        from_memory([Pair("b", "q 😀", "b", "c"), pair])
