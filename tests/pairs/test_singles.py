"""Each candidate is an example, desirable or not as the comparison or the row says."""

from dataclasses import replace

from diffalign.data.records.memmap import MappedPairs
from diffalign.data.records.pair import Dropped, Pair
from diffalign.pairs import PAIRS, DatasetPairs, from_memory

from .fakes import fake_context, some_pairs

SINGLES = [Pair(f"j{k}", "p", f"answer {k}", None, desirable=k == 0) for k in range(2)]


def test_a_comparison_gives_a_desirable_and_an_undesirable_example_and_a_single_row_stays(tmp_path):
    (pair,) = some_pairs(1)
    pair = replace(pair, probability=0.7)
    source = PAIRS["singles"](from_memory([pair, *SINGLES]))
    good, bad, *rest = source.pairs
    scores = {side: {"chosen": pair.scores[side]} for side in ("chosen", "rejected")}
    common = {"rejected": None, "probability": 1.0}
    assert good == replace(pair, id=f"{pair.id}/chosen", scores=scores["chosen"], **common)
    assert bad == replace(
        pair, id=f"{pair.id}/rejected", chosen=pair.rejected, scores=scores["rejected"], desirable=False, **common
    )
    assert rest == SINGLES
    assert source.every == 0 and source.begin_round(0, [0], fake_context(None, tmp_path)) is source.pairs


def test_the_summary_counts_desirable_and_undesirable_examples():
    source = PAIRS["singles"](DatasetPairs([*some_pairs(4), *SINGLES], (Dropped("f:1", "tie"),), "votes"))
    assert source.summary() == "10 examples (5 desirable, 5 not) on 3 prompts from votes; dropped: 1 tie"
    assert len(source) == 10 and len({pair.id for pair in source.pairs}) == 10


def test_examples_of_a_lazy_sequence_are_lazy():
    rows = [*some_pairs(3), *SINGLES]
    lazy = PAIRS["singles"](DatasetPairs(MappedPairs(rows))).pairs
    assert not isinstance(lazy, list | tuple) and list(lazy) == PAIRS["singles"](from_memory(rows)).pairs
    assert lazy[1].id == "p0/rejected" and [pair.id for pair in lazy[-2:]] == ["j0", "j1"]
