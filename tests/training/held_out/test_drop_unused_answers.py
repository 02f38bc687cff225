"""What a run computes of its rows, and that held-out rows are what training rows are."""

import json
from dataclasses import replace

import pytest

from diffalign.data.records.pair import Answer
from diffalign.errors import ConfigError, DataError
from diffalign.losses import LOSSES
from diffalign.training.held_out.drop_unused_answers import drop_unused_answers
from diffalign.training.held_out.evaluate import HeldOut
from diffalign.training.loop import train
from tests.tiny_text import text_pairs
from tests.training.everything import examples_for, sections_for
from tests.training.step.test_sums_of_losses import DPO, llm, recipe, records  # noqa: F401


def with_gold(pairs):
    return [replace(pair, further={"gold": Answer(" gold"), "2": Answer(" second")}) for pair in pairs]


def test_answers_that_no_loss_reads_are_left_out_and_ranks_stay():
    pairs = with_gold(text_pairs(3))
    assert [set(pair.further) for pair in drop_unused_answers(pairs, ())] == [{"2"}] * 3
    assert drop_unused_answers(pairs, ("gold",)) is pairs


def test_a_column_that_the_loss_does_not_read_costs_nothing(llm, tmp_path):  # noqa: F811
    costs = []
    for name, pairs in (("plain", text_pairs(4)), ("gold", with_gold(text_pairs(4)))):
        result = train(recipe(llm, tmp_path / name), pairs=pairs)
        costs.append(result.policy.forward_counts.as_dict())
    assert costs[0] == costs[1]


def eval_file(tmp_path, rows):
    path = tmp_path / "eval.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


@pytest.mark.parametrize("kind", ["plackett_luce", "logistic"])
def test_held_out_lists_are_shaped_as_the_training_pairs_are(llm, tmp_path, kind):  # noqa: F811
    row, pairs = LOSSES[kind], examples_for(LOSSES["plackett_luce"], text_pairs(4))
    rows = [
        {
            "prompt": f"held {k}:",
            "completions": [" a b", " c d", " e", " f g", " h"][: 4 + k % 2],
            "scores": [5, 4, 3, 2, 1][: 4 + k % 2],
        }
        for k in range(3)
    ]
    sections = sections_for(row, "text")
    shape = {"name": "lists", "size": 3} if kind == "plackett_luce" else sections["pairs"]
    data = {"train": "in memory", "eval": eval_file(tmp_path, rows)}
    train(recipe(llm, tmp_path / "run", loss=sections["loss"], pairs=shape, data=data), pairs=pairs)
    assert records(tmp_path / "run")[-1]["eval_pairs"] == 3


def test_held_out_rows_without_an_answer_of_the_loss_are_refused_before_training(llm, tmp_path):  # noqa: F811
    data = {"train": "in memory", "eval": eval_file(tmp_path, [{"prompt": "p", "chosen": " a", "rejected": " b"}])}
    with pytest.raises(ConfigError, match="has no gold"):
        train(recipe(llm, tmp_path / "a", loss={"name": "tpo"}, data=data), pairs=with_gold(text_pairs(4)))
    scored = examples_for(LOSSES["gpo"], text_pairs(4))
    with pytest.raises(DataError, match="the loss reads rewards"):
        train(recipe(llm, tmp_path / "b", loss={"name": "gpo", "beta": 0.5}, data=data), pairs=scored)
    loss = {"name": "gpo", "beta": 0.5, "rewards": "score", "centred": False}
    raw = [replace(pair, scores={"chosen": {"score": 21.0}, "rejected": {"score": 20.0}}) for pair in text_pairs(4)]
    with pytest.raises(DataError, match=r"all 8 of the data are above 0 .*raw scores.*loss.rewards=advantage"):
        train(recipe(llm, tmp_path / "b", loss=loss), pairs=raw)
    assert not (tmp_path / "a").exists() and not (tmp_path / "b").exists()
    assert HeldOut(text_pairs(1)) and DPO
