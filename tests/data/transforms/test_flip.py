"""Flips: an involution, of a known size, that says what it did."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diffalign.data.records.pair import Answer, Pair
from diffalign.data.transforms import flip, flip_disputed, flip_named, flip_share
from diffalign.errors import DataError, UserError
from tests.data.transforms.sets import ranked, texts

numbers = st.floats(-10, 10, allow_nan=False)
PAIRS = st.builds(
    Pair,
    id=st.just("1"),
    prompt=st.sampled_from(["p", "q"]),
    chosen=st.just("a"),
    rejected=st.sampled_from(["b", None]),
    probability=st.floats(0, 1),
    scores=st.fixed_dictionaries(
        {},
        optional={
            "chosen": st.dictionaries(st.sampled_from("xy"), numbers),
            "rejected": st.dictionaries(st.sampled_from("xy"), numbers),
            "pair": st.dictionaries(st.sampled_from(["margin", "strength_mean", "seed"]), numbers),
        },
    ),
    rejected_prompt=st.sampled_from([None, "r"]),
    further=st.fixed_dictionaries(
        {},
        optional={"2": st.just(Answer("c")), "3": st.just(Answer("d")), "augmented_chosen": st.just(Answer("a", "s"))},
    ),
    group=st.just("g"),
    desirable=st.booleans(),
)


@given(PAIRS)
def test_flipping_twice_changes_nothing(pair):
    assert flip(flip(pair)) == pair and flip(pair) != pair


def test_a_flip_swaps_candidates_prompts_scores_and_signs_and_keeps_the_opinion():
    pair = Pair(
        "1",
        "p",
        "a",
        "b",
        probability=0.8,
        scores={"chosen": {"x": 1.0}, "rejected": {"x": 3.0}, "pair": {"margin": 0.5, "first_won": 1.0, "seed": 7.0}},
        rejected_prompt="q",
        further={"2": Answer("m"), "3": Answer("n", "own"), "4": Answer("o"), "augmented_chosen": Answer("a", "z")},
    )
    turned = flip(pair)
    assert (turned.prompt, turned.chosen, turned.rejected, turned.rejected_prompt) == ("q", "b", "a", "p")
    assert turned.scores == {
        "chosen": {"x": 3.0},
        "rejected": {"x": 1.0},
        "pair": {"margin": -0.5, "first_won": 0.0, "seed": 7.0},
    }
    assert turned.probability == 0.8
    assert turned.further == {
        "4": Answer("m", "p"),
        "3": Answer("n", "own"),
        "2": Answer("o", "p"),
        "augmented_rejected": Answer("a", "z"),
    }


def test_a_flipped_list_is_the_reversed_one():
    assert [a.candidate for a in flip(ranked(9, 7, 5, 3).pair).answers.values()][:2] == [
        "answer 3 of rejected",
        "answer 9 of chosen",
    ]
    turned = flip(ranked(9, 7, 5, 3).pair)
    assert [turned.scores[role]["rating"] for role in ("chosen", "2", "3", "rejected")] == [3, 5, 7, 9]


def test_a_single_example_is_judged_the_other_way():
    assert not flip(Pair("1", "p", "a", None)).desirable


@pytest.mark.parametrize(("share", "count"), [(0.0, 0), (0.25, 5), (0.13, 3), (1.0, 20)])
def test_a_share_is_that_many_and_the_same_rows_in_any_order(share, count):
    lines = texts(20)
    done = list(flip_share(lines, share=share, seed=1).rows)
    assert [line.pair.id for line in done] == [line.pair.id for line in lines]
    turned = {line.pair.id for line in done if line.pair.scores["pair"]["flipped"] == 1.0}
    assert len(turned) == count
    for line, made in zip(lines, done, strict=True):
        assert made.columns == line.columns
        assert (made.pair.chosen == line.pair.rejected) == (line.pair.id in turned)
    again = flip_share(lines[::-1], share=share, seed=1).rows
    assert {line.pair.id for line in again if line.pair.scores["pair"]["flipped"]} == turned
    if 0 < share < 1:
        other = flip_share(lines, share=share, seed=2).rows
        assert {line.pair.id for line in other if line.pair.scores["pair"]["flipped"]} != turned


def test_a_row_that_is_turned_round_again_counts_as_it_was():
    once = list(flip_share(texts(6), share=1.0).rows)
    twice = [line.pair for line in flip_share(once, share=1.0).rows]
    assert [(p.chosen, p.scores["pair"]["flipped"]) for p in twice] == [(line.pair.chosen, 0.0) for line in texts(6)]


def test_only_named_rows_are_flipped():
    lines = texts(6)
    outcome = flip_named(lines, ["id1", "id4"])
    assert [line.pair.scores["pair"]["flipped"] for line in outcome.rows] == [0, 1, 0, 0, 1, 0]
    assert "2 of 6 labels flipped, named" in outcome.notes[0]
    with pytest.raises(DataError, match=r"1 of 2 ids belong to no row, the first is 'id19'. Did you mean 'id1'"):
        flip_named(lines, ["id1", "id19"])


def test_rows_that_scores_contradict_are_flipped_and_ties_are_not():
    lines = texts(3)
    gaps = dict(zip(["id0", "id1", "id2"], [0.5, -0.5, 0.0], strict=True))
    done = flip_disputed(lines, lambda pair: gaps[pair.id]).rows
    assert [line.pair.scores["pair"]["flipped"] for line in done] == [0, 1, 0]


def test_a_share_lies_between_zero_and_one():
    with pytest.raises(UserError, match="A tenth is 0.1"):
        flip_share(texts(3), share=10)


def test_the_rows_that_came_in_are_left_as_they_were():
    lines = texts(4)
    before = [replace(line.pair) for line in lines]
    list(flip_share(lines, share=1.0).rows)
    assert [line.pair for line in lines] == before
