"""A step that runs out of memory starts over with smaller micro-batches, and its result is the same."""

import json

import pytest
import torch

from diffalign.errors import RunError
from diffalign.training.loop import train
from diffalign.training.recipe.load import make_recipe
from diffalign.training.step.memory_switches import memory_switches
from tests.training.toy import ToyPolicy, toy_pairs, toy_recipe


class SmallDevice(ToyPolicy):
    """Runs out of memory above ``most`` pairs at once."""

    def __init__(self, most):
        super().__init__()
        self.most = most

    def logps(self, encoded, draw):
        if len(draw.ids) > self.most:
            raise torch.OutOfMemoryError("too many pairs")
        return super().logps(encoded, draw)


def run(folder, policy, micro_batch_size):
    recipe = toy_recipe(folder, train__micro_batch_size=micro_batch_size, log__every=1)
    train(recipe, policy=policy, pairs=toy_pairs())
    records = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return policy.state()["change"], [{k: v for k, v in r.items() if not k.startswith("time/")} for r in records]


def test_a_step_that_starts_over_is_the_step_of_the_smaller_micro_batches(tmp_path, capsys):
    weights, records = run(tmp_path / "small", SmallDevice(most=2), micro_batch_size=8)
    expected_weights, expected_records = run(tmp_path / "plain", ToyPolicy(), micro_batch_size=2)
    assert torch.equal(weights, expected_weights) and weights.any()
    assert records == expected_records
    shown = capsys.readouterr().err
    assert "out of memory: micro-batches of 4 pairs" in shown and "out of memory: micro-batches of 2 pairs" in shown


def test_one_pair_that_does_not_fit_stops_the_run_with_the_switches_that_this_model_has(tmp_path):
    with pytest.raises(
        RunError, match=r"one pair does not fit.*Type one of: --set train\.mixed_precision=bf16"
    ) as error:
        run(tmp_path, SmallDevice(most=0), micro_batch_size=4)
    assert "checkpointing" not in str(error.value) and "resolution" not in str(error.value)  # the toy has neither


@pytest.mark.parametrize(
    ("model", "train", "named", "left_out"),
    [
        ({}, {}, "gradient_checkpointing=true mixed_precision=bf16 dtype=bfloat16 resolution", "max_length clip rank"),
        ({"dtype": "bfloat16"}, {"gradient_checkpointing": True}, "mixed_precision=bf16", "checkpointing dtype"),
        ({"kind": "text"}, {"mixed_precision": "bf16"}, "max_length=TOKENS", "resolution mixed_precision"),
        ({"adapter": None}, {}, "model.adapter.rank=16", "dtype=bfloat16"),
        ({"kind": "video", "clip": {"frames": 16}}, {"draws_per_pair": 1}, "model.clip.frames=8", "draws_per_pair"),
    ],
)
def test_the_switches_are_those_that_are_there_and_not_set(model, train, named, left_out):
    values = {"model": {"path": "somewhere", **model}, "data": {"train": "pairs"}, "output": "out"}
    values["loss"] = {"name": "logistic", "beta": 1.0}
    values["train"] = {"steps": 1, "learning_rate": 1e-4, "mixed_precision": "no", **train}
    shown = memory_switches(make_recipe(values))
    assert all(word in shown for word in named.split()) and not any(word in shown for word in left_out.split()), shown
