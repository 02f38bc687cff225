"""SePPO with a real image policy: killed while it samples and while it trains, it ends in the same weights."""

import math

import pytest
import torch

from diffalign.policies.diffusion.policy import DenoiserPolicy
from diffalign.training.storage.checkpoint_folder import complete_checkpoints
from tests.training.tiny_runs import losses, run, state

SEPPO = {
    "pairs": {"name": "checkpoint", "every": 2, "select": "latest", "steps": 2, "guidance": 2.0, "batch": 2},
    "labels": "seppo_gate",
    "train": {"steps": 5, "optimizer": "adamw", "learning_rate": 1e-3},
    "checkpoint": {"every": 3, "keep": 1},
}


class Killed(BaseException):
    """No error that anybody catches."""


@pytest.fixture
def die(monkeypatch):
    """``die("logps", 3)``: the third call from now on kills the run."""

    def arm(name, call):
        plain, calls = getattr(DenoiserPolicy, name), []

        def dying(self, *arguments, **settings):
            calls.append(1)
            if len(calls) == call:
                monkeypatch.setattr(DenoiserPolicy, name, plain)
                raise Killed
            return plain(self, *arguments, **settings)

        monkeypatch.setattr(DenoiserPolicy, name, dying)

    return arm


@pytest.mark.parametrize("adapter", [{"rank": 2}, None], ids=["adapter", "every-weight"])
def test_a_run_killed_in_sampling_and_in_training_ends_in_the_same_weights(model, pairs, tmp_path, die, adapter):
    settings = {**SEPPO, "model": {"adapter": adapter}}
    straight = run(model, tmp_path / "straight", pairs, **settings)
    parts = tmp_path / "parts"
    left = []
    for name, call in (("make_candidates", 4), ("logps", 2), ("logps", 2)):
        die(name, call)
        with pytest.raises(Killed):
            run(model, parts, pairs, resume=bool(left), **settings)
        left.append(complete_checkpoints(parts / "checkpoints")[-1].name[-1])
    # In the middle of round 1's samples; in its second step, after a checkpoint; in the first step of round 2.
    assert left == ["2", "3", "4"]
    resumed = run(model, parts, pairs, resume=True, **settings)
    for name, value in state(straight).items():
        assert torch.equal(value, state(resumed)[name]), name
    assert losses(parts) == losses(tmp_path / "straight")
    # The latest state is the reference of each round, so each begins where policy and reference are equal.
    assert [abs(loss - math.log(2)) < 1e-6 for loss in losses(parts)] == [True, False, True, False, True]
    assert resumed.policy.forward_counts.sampling == 0  # nothing that is there is sampled again
