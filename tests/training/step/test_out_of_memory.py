"""A step that runs out of memory starts over with smaller micro-batches, and its result is the same."""

import json

import pytest
import torch

from diffalign.errors import RunError
from diffalign.training.loop import train
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


def test_one_pair_that_does_not_fit_stops_the_run_with_advice(tmp_path):
    with pytest.raises(RunError, match=r"one pair does not fit.*train\.gradient_checkpointing=true"):
        run(tmp_path, SmallDevice(most=0), micro_batch_size=4)
