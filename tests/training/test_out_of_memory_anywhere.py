"""Out of memory in any stage of a run halves the piece: the run ends as one with small pieces from the beginning."""

import json
import re

import pytest
import torch
from diffusers import UNet2DConditionModel

from diffalign.policies.diffusion.encoding.frozen_components import FrozenComponents
from diffalign.policies.diffusion.families.sd import StableDiffusionPrompts
from diffalign.policies.language.generation import generator
from diffalign.policies.language.network.choose_fastest_forward import _trial_pairs
from diffalign.policies.language.network.network import LanguageNetwork
from diffalign.training.loop import train
from diffalign.training.recipe.load import make_recipe
from tests.tiny import tiny_pairs, tiny_sd
from tests.tiny_text import text_pairs, tiny_llm
from tests.training.tiny_runs import tiny_recipe

SAID = re.compile(r"out of memory while (.*?):")
REFERENCES = ["stored", "adapter_off"]


def limited(function, size, most):
    """``function``, which runs out of memory where ``size`` of its arguments is above ``most``."""

    def call(*args, **kwargs):
        if size(*args, **kwargs) > most:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return function(*args, **kwargs)

    return call


def run(base, folder, pairs, pieces, capsys, **changes):
    """Trains four pairs in two steps, with previews."""
    train_settings = {"batch_size": 4, "micro_batch_size": pieces, "steps": 2}
    result = train(tiny_recipe(base, folder / "run", train=train_settings, **changes), pairs=pairs)
    return left_by(folder, result, capsys)


def left_by(folder, result, capsys):
    """What a run leaves: weights, metrics, previews, and what it said."""
    records = [json.loads(line) for line in (folder / "run" / "metrics.jsonl").read_text().splitlines()]
    previews = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("step-*/*-seed-*")}
    kept = [{key: value for key, value in record.items() if not key.startswith("time/")} for record in records]
    return result.policy.state(), kept, previews, capsys.readouterr().err


def assert_same(one, other):
    assert one[1] == other[1]
    assert all(torch.equal(one[0][name], other[0][name]) for name in one[0]) and one[0].keys() == other[0].keys()
    assert one[2].keys() == other[2].keys() and len(one[2]) == 9
    assert one[2] == other[2]


@pytest.mark.parametrize("reference", REFERENCES)
def test_images_are_encoded_sampled_scored_and_trained_in_halves(tmp_path, monkeypatch, capsys, reference):
    model, pairs = tiny_sd(tmp_path / "sd"), tiny_pairs(tmp_path / "pairs", 4)
    previews = {"prompts": ["a fox"], "seeds": [0, 1, 2], "every": 1, "steps": 2, "guidance": 1.0}
    settings = {"previews": previews, "model": {"reference": reference, "flip": "joint"}}
    rows = lambda self, sample, *args, **kwargs: len(sample)
    monkeypatch.setattr(UNet2DConditionModel, "forward", limited(UNet2DConditionModel.forward, rows, 2))
    small = {**settings, "model": {**settings["model"], "encode_batch": 1, "cache": str(tmp_path / "apart")}}
    expected = run(model, tmp_path / "small", pairs, 1, capsys, **small)
    assert set(SAID.findall(expected[3])) == {"images are sampled"}
    posterior = limited(FrozenComponents.posterior, lambda self, pixels: len(pixels), 2)
    encode = limited(StableDiffusionPrompts.encode, lambda self, prompts: len(prompts), 1)
    monkeypatch.setattr(FrozenComponents, "posterior", posterior)
    monkeypatch.setattr(StableDiffusionPrompts, "encode", encode)
    found = run(model, tmp_path / "large", pairs, 4, capsys, **settings)
    stages = {"images are sampled", "images are encoded", "prompts are encoded"}
    assert set(SAID.findall(found[3])) == stages | (
        {"the reference's numbers are computed"} if reference == "stored" else set()
    )
    assert "micro-batches of 1 pairs" in found[3]
    assert_same(found, expected)


def test_texts_are_sampled_scored_evaluated_and_trained_in_halves(tmp_path, monkeypatch, capsys):
    model, pairs = tiny_llm(tmp_path / "llm"), text_pairs(4)
    rows = [{"prompt": pair.prompt, "chosen": pair.chosen, "rejected": pair.rejected} for pair in text_pairs(6, seed=3)]
    (tmp_path / "held_out.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    settings = {"kind": "text", "path": str(model), "reference": "stored", "adapter": None}
    previews = {"prompts": ["one", "two", "three"], "every": 1, "max_new_tokens": 4}
    data = {"train": "in memory", "eval": str(tmp_path / "held_out.jsonl")}

    def run_text(name, pieces):
        values = {"model": {**settings, "cache": str(tmp_path / name / "cache")}, "data": data, "previews": previews}
        values |= {
            "loss": {"name": "logistic", "beta": 0.5},
            "log": {"every": 1},
            "output": str(tmp_path / name / "run"),
        }
        values["train"] = {"steps": 2, "batch_size": 4, "micro_batch_size": pieces, "learning_rate": 1e-2}
        values["train"]["mixed_precision"] = "no"
        return left_by(tmp_path / name, train(make_recipe(values), pairs=pairs), capsys)

    answers = lambda network, tokenizer, prompts, seeds, **kwargs: len(prompts)
    monkeypatch.setattr(generator, "answer_ids", limited(generator.answer_ids, answers, 1))
    expected = run_text("small", 1)
    trial = sum(len(pair.prompt) + sum(len(answer.ids) for answer in pair.responses) for pair in _trial_pairs(99))
    responses = lambda self, layout, *args, **kwargs: len(layout.pair_responses) if len(layout.ids) != trial else 0
    monkeypatch.setattr(LanguageNetwork, "forward", limited(LanguageNetwork.forward, responses, 1))
    found = run_text("large", 4)
    assert set(SAID.findall(expected[3])) == {"texts are sampled"}
    stages = {"texts are sampled", "the reference's numbers are computed"}
    assert set(SAID.findall(found[3])) == stages and "micro-batches of 1 pairs" in found[3]
    assert_same(found, expected)
