"""Every candidate for itself, with the judgement that the comparison or the row made of it."""

from dataclasses import replace

from diffalign.data.records.memmap import MappedPairs
from diffalign.data.records.pair import Dropped, Pair
from diffalign.pairs import PAIRS, DatasetPairs, from_memory

from .fakes import fake_stage, some_pairs

JUDGED = [Pair(f"j{k}", "p", f"answer {k}", None, desirable=k == 0) for k in range(2)]


def test_a_comparison_is_a_good_and_a_bad_example_and_a_single_row_is_itself(tmp_path):
    (pair,) = some_pairs(1)
    pair = replace(pair, probability=0.7)
    source = PAIRS["singles"](from_memory([pair, *JUDGED]))
    good, bad, *rest = source.pairs
    scores = {side: {"chosen": pair.scores[side]} for side in ("chosen", "rejected")}
    common = {"rejected": None, "probability": 1.0}
    assert good == replace(pair, id=f"{pair.id}/chosen", scores=scores["chosen"], **common)
    assert bad == replace(
        pair, id=f"{pair.id}/rejected", chosen=pair.rejected, scores=scores["rejected"], desirable=False, **common
    )
    assert rest == JUDGED
    assert source.every == 0 and source.begin(0, [0], fake_stage(None, tmp_path)) is source.pairs


def test_the_header_tells_how_many_of_each_there_are():
    source = PAIRS["singles"](DatasetPairs([*some_pairs(4), *JUDGED], (Dropped("f:1", "tie"),), "votes"))
    assert source.summary() == "10 examples (5 desirable, 5 not) on 3 prompts from votes; dropped: 1 tie"
    assert len(source) == 10 and len({pair.id for pair in source.pairs}) == 10


def test_examples_of_many_pairs_are_made_when_they_are_asked_for():
    rows = [*some_pairs(3), *JUDGED]
    lazy = PAIRS["singles"](DatasetPairs(MappedPairs(rows))).pairs
    assert not isinstance(lazy, list | tuple) and list(lazy) == PAIRS["singles"](from_memory(rows)).pairs
    assert lazy[1].id == "p0/rejected" and [pair.id for pair in lazy[-2:]] == ["j0", "j1"]
