"""Only the chosen candidates; rows without a rejected one are not compared."""

from dataclasses import replace

import pytest

from diffalign.data.records.memmap import MappedPairs
from diffalign.data.records.pair import Dropped, Pair
from diffalign.errors import DataError
from diffalign.pairs import PAIRS, from_memory
from diffalign.pairs.dataset import DatasetPairs

from .fakes import fake_context, some_pairs

WINNERS = [Pair(f"w{k}", "p", f"good {k}", None) for k in range(3)]


def test_the_default_source_is_the_dataset_itself(tmp_path):
    data = from_memory(some_pairs())
    source = PAIRS[next(iter(PAIRS))](data)
    assert source.every == 0 and source.pairs == data.pairs
    assert list(source.begin_round(0, [0, 3], fake_context(None, tmp_path))) == list(data.pairs)
    assert not list(tmp_path.iterdir())


def test_rows_with_only_a_winner_are_read_but_not_compared():
    data = from_memory([*some_pairs(2), *WINNERS])
    with pytest.raises(
        DataError, match="3 of 5 rows .*'w0'.*--set pairs=winners --set loss=sft.*--set pairs=checkpoint"
    ):
        PAIRS["dataset"](data)


def test_winners_have_no_rejected_candidate_and_no_score_of_both(tmp_path):
    data = DatasetPairs(tuple(some_pairs(4)), (Dropped("f:1", "tie"),), "votes")
    source = PAIRS["winners"](data)
    assert source.every == 0 and len(source) == 4
    for was, now in zip(data.pairs, source.pairs, strict=True):
        assert now == replace(was, rejected=None, probability=1.0, scores={"chosen": {"judge": 2.0}})
    assert source.begin_round(0, [0], fake_context(None, tmp_path)) == source.pairs
    assert source.summary() == "4 winners on 2 prompts from votes; dropped: 1 tie"


def test_a_candidate_that_won_twice_occurs_twice():
    first, second = some_pairs(2)
    source = PAIRS["winners"](from_memory([first, replace(second, prompt=first.prompt, chosen=first.chosen)]))
    assert [pair.id for pair in source.pairs] == ["p0", "p1"]


def test_undesirable_examples_are_left_out():
    rows = [replace(pair, desirable=k != 1) for k, pair in enumerate(WINNERS)]
    source = PAIRS["winners"](from_memory([*some_pairs(2), *rows]))
    assert [pair.id for pair in source.pairs] == ["p0", "p1", "w0", "w2"]
    assert source.summary().endswith("; left out: 1 undesirable")
    with pytest.raises(DataError, match="none of 1 examples is desirable"):
        PAIRS["winners"](from_memory(rows[1:2]))


def test_winners_of_a_lazy_sequence_are_lazy():
    pairs = some_pairs(4)
    source = PAIRS["winners"](DatasetPairs(MappedPairs(pairs)))
    assert not isinstance(source.pairs, list | tuple)
    assert list(source.pairs) == PAIRS["winners"](from_memory(pairs)).pairs
