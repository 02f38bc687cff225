"""Policies on packed bases begin at their reference, train and resume, and their adapters fit the plain base."""

import json

import pytest
import torch
from pydantic import ValidationError

from diffalign.devices import quantized_linear
from diffalign.devices.device_memory import module_bytes
from diffalign.devices.quantized_linear import QuantizedLinear
from diffalign.files.weightless import without_weights
from diffalign.policies.config import BaseModelConfig
from diffalign.randomness import Draw
from diffalign.training.loop import train
from diffalign.training.recipe.load import make_recipe
from diffalign.training.recipe.model_kinds import open_model
from tests.tiny import tiny_pairs, tiny_sd
from tests.tiny_text import text_pairs, tiny_llm
from tests.tiny_video import tiny_animatediff, tiny_clip_pairs

KINDS = ["nf4", "int8"]
MODELS = {
    "image": (tiny_sd, tiny_pairs, {}),
    "video": (tiny_animatediff, tiny_clip_pairs, {"clip": {"frames": 3}, "adapter": {"rank": 2, "targets": "motion"}}),
    "text": (tiny_llm, lambda folder, count: text_pairs(count), {"kind": "text"}),
}


@pytest.fixture(autouse=True)
def any_size(monkeypatch):
    monkeypatch.setattr(quantized_linear, "SMALLEST", 0)


def recipe_of(folder, medium, output="run", **model):
    make, _, settings = MODELS[medium]
    path = make(folder / medium / str(len(list(folder.glob(f"{medium}/*")))))  # the same weights each time
    values = {"kind": medium, "path": str(path), "cache": str(folder / "cache"), "adapter": {"rank": 2}, **settings}
    values = {"model": {**values, **model}, "data": {"train": "memory"}, "output": str(folder / output)}
    values |= {"loss": {"name": "logistic", "beta": 5.0}, "log": {"every": 1}, "guard": {"action": "off"}}
    values["train"] = {"steps": 4, "batch_size": 2, "learning_rate": 1e-3, "mixed_precision": "no"}
    return make_recipe({**values, "checkpoint": {"every": 2}})


def losses(folder):
    return [json.loads(line)["loss"] for line in (folder / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("medium", MODELS)
def test_policy_and_reference_share_the_packed_base(tmp_path, medium, kind):
    pairs = MODELS[medium][1](tmp_path / "pairs", 2)
    plain = open_model(recipe_of(tmp_path, medium).model)
    packed = open_model(recipe_of(tmp_path, medium, quantize=kind).model)
    layers = [layer for layer in packed.module.modules() if isinstance(layer, QuantizedLinear)]
    assert layers and kind in packed.describe()["base"]
    assert module_bytes(packed.module) < module_bytes(plain.module)
    assert packed.base_fingerprint == plain.base_fingerprint and packed.fingerprint() != plain.fingerprint()
    packed.prepare(pairs, lambda *_: None)
    encoded, draw = packed.encode(pairs), Draw(0, tuple(pair.id for pair in pairs), (0, 0))
    policy, reference = packed.logps(encoded, draw), packed.reference_logps(encoded, draw)
    for one, other in zip(policy.candidates, reference.candidates, strict=True):
        assert torch.equal(one.logps, other.logps)  # so the margin is 0 and the loss log 2, to the bit
    sum(candidate.logps.sum() for candidate in policy.candidates).backward()
    assert all(parameter.grad is not None for parameter in packed.trainable().values())
    assert any(parameter.grad.any() for parameter in packed.trainable().values())
    with without_weights():
        empty = open_model(recipe_of(tmp_path, medium, quantize=kind).model)
    assert module_bytes(empty.module) == module_bytes(packed.module)


@pytest.mark.parametrize("medium", MODELS)
def test_a_run_on_a_packed_base_learns_resumes_to_the_bit_and_its_adapter_fits_the_plain_base(tmp_path, medium):
    pairs = MODELS[medium][1](tmp_path / "pairs", 4)
    settings = {"quantize": "nf4", "gradient_checkpointing": True}
    whole = train(recipe_of(tmp_path, medium, "whole", **settings), pairs=pairs)
    steps = losses(tmp_path / "whole")
    assert steps[0] == pytest.approx(0.693147, abs=1e-6) and min(steps[1:]) < steps[0]
    from diffalign.training.storage.run_folder import RunFolder

    recipe = recipe_of(tmp_path, medium, "cut", **settings)
    train(recipe, pairs=pairs)
    last = RunFolder(tmp_path / "cut").own_checkpoints()[-1]
    for path in sorted(last.iterdir()):
        path.unlink()
    resumed = train(recipe, pairs=pairs, resume=True)
    states = whole.policy.state(), resumed.policy.state()
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    plain = open_model(recipe_of(tmp_path, medium).model)
    before = plain.state()
    plain.load_adapter(whole.artifact)  # its file names the base that was packed
    assert any(not torch.equal(before[name], value) for name, value in plain.state().items())


def test_what_cannot_be_packed_is_refused_in_a_sentence():
    for settings, says in (
        ({"adapter": None}, "all weights train"),
        ({"adapter": {"dora": True}}, "DoRA needs their norms"),
        ({"reference": "copy"}, "Set reference: adapter_off"),
        ({"quantize": "fp3"}, "'nf4' or 'int8'"),
    ):
        with pytest.raises(ValidationError, match=says):
            BaseModelConfig(**{"path": "somewhere", "quantize": "nf4", **settings})
