"""The loop with a real image policy: a Stable Diffusion pipeline of a few thousand parameters."""

import json
import math

import pytest
import torch

from diffalign.errors import DataError
from diffalign.training.loop import train
from diffalign.training.recipe.load import make_recipe
from diffalign.training.recipe.override import override
from tests.data.fixtures import parquet, vote


def recipe(model, folder, name, **changes):
    values = {
        "method": "diffusion_dpo",
        "model": {"path": str(model), "cache": str(folder / "cache"), **changes.pop("policy", {})},
        "data": {"train": "in memory"},
        "train": {
            "steps": 4,
            "batch_size": 4,
            "micro_batch_size": 2,
            "learning_rate": 1e-3,
            "scale_lr": False,
            "schedule": "linear",
            "warmup_steps": 0,
            "mixed_precision": "no",
            **changes.pop("train", {}),
        },
        "log": {"every": 1},
        "checkpoint": {"every": 2},
        "output": str(folder / name),
    }
    return make_recipe({**values, **changes})


def losses(folder):
    return [json.loads(line)["loss"] for line in (folder / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("adapter", [{"rank": 4}, None])
def test_stored_and_live_references_train_alike_from_log_two(model, pairs, tmp_path, adapter):
    curves = []
    for reference in ("auto", "stored"):
        wanted = recipe(model, tmp_path, reference, policy={"adapter": adapter, "reference": reference})
        train(wanted, pairs=pairs)
        curves.append(losses(tmp_path / reference))
        assert curves[-1][0] == pytest.approx(math.log(2), abs=1e-4) and curves[-1][-1] != curves[-1][0]
    assert curves[0] == pytest.approx(curves[1], rel=1e-2)


def test_a_resumed_adapter_equals_an_uninterrupted_one(model, pairs, tmp_path):
    straight = train(recipe(model, tmp_path, "straight", train={"schedule": "constant"}), pairs=pairs)
    train(recipe(model, tmp_path, "parts", train={"schedule": "constant", "steps": 2}), pairs=pairs)
    resumed = train(recipe(model, tmp_path, "parts", train={"schedule": "constant"}), pairs=pairs, resume=True)
    for name, value in straight.policy.state().items():
        assert torch.equal(value, resumed.policy.state()[name]), name
    assert resumed.artifact.exists()


def test_half_precision_starts_at_log_two_too(model, pairs, tmp_path):
    train(recipe(model, tmp_path, "half", train={"mixed_precision": "bf16", "steps": 1}), pairs=pairs)
    assert losses(tmp_path / "half")[0] == pytest.approx(math.log(2), abs=1e-6)


KTO = {"method": None, "pairs": "singles", "loss": {"name": "kto", "beta": 2000.0}}


def test_single_images_train_from_a_loss_of_one_half(model, pairs, tmp_path):
    # Four images a step, in micro-batches of two and of one; stored errors are those of a live reference.
    plain = recipe(model, tmp_path, "plain", train={"schedule": "constant"}, **KTO)
    straight = train(plain, pairs=pairs)
    assert losses(tmp_path / "plain")[0] == pytest.approx(0.5, abs=1e-4)
    record = json.loads((tmp_path / "plain/metrics.jsonl").read_text().splitlines()[-1])
    assert {"rewards/chosen", "rewards/rejected", "error/chosen_change", "kl"} <= record.keys()
    for name, changes in {
        "single": {"train": {"schedule": "constant", "micro_batch_size": 1}},
        "stored": {"train": {"schedule": "constant"}, "policy": {"reference": "stored"}},
    }.items():
        other = train(recipe(model, tmp_path, name, **changes, **KTO), pairs=pairs)
        assert losses(tmp_path / name) == pytest.approx(losses(tmp_path / "plain"), rel=1e-3)
        for key, value in straight.policy.state().items():
            assert torch.allclose(value, other.policy.state()[key], atol=1e-4), (name, key)


def test_runs_on_single_images_resume_to_the_bit(model, pairs, tmp_path):
    constant = {"schedule": "constant"}
    straight = train(recipe(model, tmp_path, "straight", train=constant, **KTO), pairs=pairs)
    train(recipe(model, tmp_path, "parts", train={**constant, "steps": 2}, **KTO), pairs=pairs)
    resumed = train(recipe(model, tmp_path, "parts", train=constant, **KTO), pairs=pairs, resume=True)
    for name, value in straight.policy.state().items():
        assert torch.equal(value, resumed.policy.state()[name]), name


def test_a_bad_image_stops_a_run_with_the_way_to_leave_it_out_which_works(model, tmp_path):
    rows = [vote(number) for number in range(5)]
    rows[2]["jpg_0"] = rows[2]["jpg_0"][:200]
    data = {"train": str(parquet(tmp_path / "a.parquet", rows))}
    changes = {"train": {"steps": 1, "batch_size": 2, "learning_rate": 1e-3}, "checkpoint": {"every": 0}}
    with pytest.raises(DataError, match=r"a\.parquet:2:jpg_0.*--set data\.options\.bad_images=drop"):
        train(recipe(model, tmp_path, "stops", data=data, **changes))
    changed = override({"data": data}, "data.options.bad_images=drop")["data"]
    train(recipe(model, tmp_path, "runs", data=changed, **changes))
    assert len(losses(tmp_path / "runs")) == 1
