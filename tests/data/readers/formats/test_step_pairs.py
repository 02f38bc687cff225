"""Step pairs: two next steps after the steps so far, as sure as a search's visits."""

import pytest

from diffalign.data.readers import read_pairs
from diffalign.data.records.conversation import Conversation, Message
from diffalign.data.records.pair import BAD_LABEL, EMPTY_CANDIDATE, IDENTICAL
from tests.data.fixtures import jsonl, parquet

ROW = {"prompt": "2+3*4?", "prefix": "3*4=12. ", "chosen_step": "2+12=14.", "rejected_step": "5*4=20."}
PUBLISHED = {  # the columns of the published step pairs for mathematics
    "dataset": "gsm",
    "prompt": "2+3*4?",
    "initial_reason_steps": "Step 1: 3*4=12.\nStep 2:",
    "chosen": " 2+12=14.",
    "rejected": " 5*4=20.",
    "full_chosen": "...",
    "answer": "14",
}


def test_a_candidate_is_the_steps_so_far_and_one_more(tmp_path):
    for path in (jsonl(tmp_path / "a.jsonl", [ROW]), parquet(tmp_path / "a.parquet", [ROW])):
        dataset = read_pairs(path)
        (pair,) = dataset.pairs
        assert dataset.format == "steps" and pair.probability == 1.0
        assert (pair.prompt, pair.chosen, pair.rejected) == (
            "2+3*4?",
            "3*4=12. 2+12=14.",
            "3*4=12. 5*4=20.",
        )


def test_published_step_pairs_keep_the_steps_before(tmp_path):
    dataset = read_pairs(jsonl(tmp_path / "a.jsonl", [PUBLISHED]))
    assert dataset.format == "steps" and dataset.pairs[0].chosen == "Step 1: 3*4=12.\nStep 2: 2+12=14."


def test_the_first_step_has_none_before_it_and_a_prompt_in_turns_makes_it_the_assistants(tmp_path):
    row = {**ROW, "prompt": [{"role": "user", "content": "2+3*4?"}], "prefix": ""}
    (pair,) = read_pairs(jsonl(tmp_path / "a.jsonl", [row])).pairs
    assert pair.prompt == Conversation((Message("user", "2+3*4?"),))
    assert pair.chosen == Conversation((Message("assistant", "2+12=14."),))


def test_visits_give_the_probability_of_a_pair_and_values_are_kept(tmp_path):
    rows = [
        {**ROW, "n_w": 5, "n_l": 2, "q_w": 0.8, "q_l": 0.1, "depth": 3},
        {**ROW, "rejected_step": "other", "n_w": 1, "n_l": 9},
    ]
    first, second = read_pairs(jsonl(tmp_path / "a.jsonl", rows)).pairs
    assert first.probability == pytest.approx(1 - 2 / 7) and second.probability == 0.5
    assert first.scores == {"chosen": {"q": 0.8}, "rejected": {"q": 0.1}, "pair": {"depth": 3.0}}


def test_rows_that_cannot_be_trained_on_are_dropped_with_a_reason(tmp_path):
    rows = [
        ROW,
        {**ROW, "chosen_step": " "},
        {**ROW, "rejected_step": ROW["chosen_step"]},
        {**ROW, "n_w": 3},
        {**ROW, "n_w": -1, "n_l": 2},
    ]
    dataset = read_pairs(jsonl(tmp_path / "a.jsonl", rows))
    assert [row.reason for row in dataset.dropped] == [EMPTY_CANDIDATE, IDENTICAL, BAD_LABEL, BAD_LABEL]


def test_two_steps_of_one_question_after_other_steps_are_two_pairs(tmp_path):
    rows = [ROW, {**ROW, "prefix": "First 3*4=12. "}, ROW]
    ids = [pair.id for pair in read_pairs(jsonl(tmp_path / "a.jsonl", rows)).pairs]
    assert len(set(ids)) == 3 and ids[2] == f"{ids[0]}-2"
