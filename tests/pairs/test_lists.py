"""Ranked lists of one size, from rows of several."""

from dataclasses import replace

import pytest

from diffalign.data.records.memmap import MappedPairs
from diffalign.data.records.pair import Answer, Dropped, Pair
from diffalign.errors import DataError
from diffalign.pairs import PAIRS, DatasetPairs, from_memory

from .fakes import fake_context, some_pairs


def ranked(name: str, count: int, scores=None) -> Pair:
    """Answers ``a0`` (best) to ``a<n-1>``, by default with scores that fall by 1."""
    roles = ["chosen", *map(str, range(2, count)), "rejected"]
    scores = list(range(count, 0, -1)) if scores is None else scores
    return Pair(
        name,
        f"prompt of {name}",
        "a0",
        f"a{count - 1}",
        further={role: Answer(f"a{k}") for k, role in enumerate(roles[1:-1], 1)},
        scores={role: {"judge": score} for role, score in zip(roles, scores, strict=True)},
    )


def shown(pair: Pair) -> list[str]:
    """The candidates in their order."""
    between = [pair.further[str(rank)].candidate for rank in range(2, 2 + len(pair.further))]
    return [pair.chosen, *between, pair.rejected]


def test_lists_of_one_size_stay_as_they_are(tmp_path):
    rows = [ranked("x", 4), ranked("y", 4)]
    source = PAIRS["lists"](from_memory(rows))
    assert list(source.pairs) == rows and source.size == 4 and source.every == 0
    assert source.summary() == "2 lists of 4 on 2 prompts from pairs in memory"
    assert source.begin_round(0, [0], fake_context(None, tmp_path)) is source.pairs


@pytest.mark.parametrize(
    "size, kept", [(3, ["a0", "a3", "a6"]), (4, ["a0", "a2", "a4", "a6"]), (6, ["a0", "a1", "a2", "a3", "a4", "a6"])]
)
def test_a_longer_list_keeps_its_ends_and_evenly_spaced_ranks_between(size, kept):
    (pair,) = PAIRS["lists"](from_memory([ranked("x", 7)]), size=size).pairs
    assert shown(pair) == kept
    number = {role: scores["judge"] for role, scores in pair.scores.items()}
    roles = ["chosen", *map(str, range(2, size)), "rejected"]
    assert [number[role] for role in roles] == [7 - int(name[1:]) for name in kept] and len(number) == size


def test_shorter_and_tied_lists_are_left_out_and_counted():
    rows = [ranked("x", 5), ranked("short", 3), ranked("tied", 4, [1, 1, 1, 1]), ranked("half", 4, [2, 2, 1, 1])]
    source = PAIRS["lists"](DatasetPairs([*rows, *some_pairs(1)], (Dropped("f:1", "tie"),), "votes"), size=4)
    assert [pair.id for pair in source.pairs] == ["x", "half"]
    notes = "dropped: 1 tie; left out: 2 shorter; left out: 1 tied; cut to 4: 1"
    assert source.summary() == f"2 lists of 4 on 2 prompts from votes; {notes}"


def test_lists_of_several_sizes_need_a_size():
    rows = [ranked("x", 5), ranked("y", 4), ranked("z", 4)]
    with pytest.raises(DataError, match="2 of 4, 1 of 5 candidates.*pairs.size=4"):
        PAIRS["lists"](from_memory(rows))
    with pytest.raises(DataError, match="longest has 5.*pairs.size=5"):
        PAIRS["lists"](from_memory(rows), size=6)
    with pytest.raises(DataError, match="3 or more; got 2"):
        PAIRS["lists"](from_memory(rows), size=2)
    with pytest.raises(DataError, match="more than two candidates.*pairs=dataset"):
        PAIRS["lists"](from_memory(some_pairs(2)))


def test_further_answers_without_a_rank_stay():
    pair = replace(ranked("x", 4), further={**ranked("x", 4).further, "gold": Answer("g")})
    (cut,) = PAIRS["lists"](from_memory([pair]), size=3).pairs
    assert set(cut.further) == {"2", "gold"}


def test_lists_of_a_lazy_sequence_are_lazy():
    rows = [ranked(f"x{k}", 5) for k in range(3)]
    lazy = PAIRS["lists"](DatasetPairs(MappedPairs(rows)), size=3).pairs
    assert not isinstance(lazy, list) and [shown(pair) for pair in lazy] == [["a0", "a2", "a4"]] * 3


def test_other_sources_compare_the_best_with_the_worst():
    pair = replace(ranked("x", 4), further={**ranked("x", 4).further, "gold": Answer("g")})
    (two,) = PAIRS["dataset"](from_memory([pair])).pairs
    assert (two.chosen, two.rejected, set(two.further)) == ("a0", "a3", {"gold"})
    assert all(not one.further for one in PAIRS["singles"](from_memory([ranked("x", 4)])).pairs)
    assert all(not one.further for one in PAIRS["winners"](from_memory([ranked("x", 4)])).pairs)
