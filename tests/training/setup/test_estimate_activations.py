"""The header of a run says how much memory the activations of a micro-batch will take, and that it is an estimate."""

import re

import pytest
import torch

from diffalign.losses import LOSSES
from diffalign.policies.diffusion.policy import DenoiserPolicy
from diffalign.training.loop import train
from diffalign.training.setup import assemble_run as module
from tests.tiny import tiny_pairs, tiny_sd, tiny_sdxl
from tests.tiny_text import text_pairs, tiny_llm
from tests.tiny_video import tiny_animatediff, tiny_clip_pairs, tiny_modelscope
from tests.training.tiny_runs import tiny_recipe
from tests.training.toy import ToyPolicy, toy_pairs, toy_recipe

UNITS = {"bytes": 1, "kB": 1e3, "MB": 1e6}


@pytest.fixture(autouse=True)
def any_size(monkeypatch):
    monkeypatch.setattr(module, "SMALL", 0)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return tiny_sd(tmp_path_factory.mktemp("sd"))


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    return tiny_pairs(tmp_path_factory.mktemp("pairs"), 4)


def memory_line(recipe, pairs, capsys, **options):
    train(recipe, pairs=pairs, check_only=True, **options)
    (line,) = (line for line in capsys.readouterr().err.splitlines() if line.startswith("memory"))
    return " ".join(line.split())


def estimated(line):
    value, unit, count, note = re.search(
        r"about ([\d.]+) (\w+) activations of (\d+) pairs? at once \((.*?)\)", line
    ).groups()
    assert note.startswith("estimated")
    return float(value) * UNITS[unit], int(count)


def test_an_image_model_says_it_and_checkpoints_lower_it(model, pairs, tmp_path, capsys):
    plain, count = estimated(memory_line(tiny_recipe(model, tmp_path / "a"), pairs, capsys))
    assert count == 2
    settings = {"model": {"gradient_checkpointing": True}}
    saved, _ = estimated(memory_line(tiny_recipe(model, tmp_path / "b", **settings), pairs, capsys))
    assert saved < 0.8 * plain
    one, count = estimated(
        memory_line(tiny_recipe(model, tmp_path / "c", train={"micro_batch_size": 1}), pairs, capsys)
    )
    assert count == 1 and one == pytest.approx(plain / 2, rel=0.1)


def test_two_draws_per_pair_keep_twice_as_much(model, pairs, tmp_path, capsys):
    one, _ = estimated(memory_line(tiny_recipe(model, tmp_path / "a"), pairs, capsys))
    line = memory_line(tiny_recipe(model, tmp_path / "b", train={"draws_per_pair": 2}), pairs, capsys)
    assert "(estimated, 2 passes)" in line and estimated(line)[0] == pytest.approx(2 * one, rel=0.1)


def test_it_is_what_a_step_of_the_run_keeps(model, pairs, tmp_path, capsys, monkeypatch):
    """The number of the header against what autograd saves in the run's own steps."""
    said, _ = estimated(memory_line(tiny_recipe(model, tmp_path / "a"), pairs, capsys))
    saved, logps = [], DenoiserPolicy.logps

    def counted(policy, encoded, draw):
        own = {parameter.untyped_storage()._cdata for parameter in policy.module.parameters()}
        found = {}

        def pack(tensor):
            found[tensor.untyped_storage()._cdata] = tensor.untyped_storage().nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            result = logps(policy, encoded, draw)
        saved.append(sum(size for key, size in found.items() if key not in own))
        return result

    monkeypatch.setattr(DenoiserPolicy, "logps", counted)
    train(tiny_recipe(model, tmp_path / "b"), pairs=pairs)
    assert said == pytest.approx(max(saved), rel=0.15)


@pytest.mark.parametrize("make", [tiny_animatediff, tiny_modelscope])
def test_clips_take_memory_by_their_frames_and_checkpoints_reach_the_layers_that_join_them(make, tmp_path, capsys):
    model, pairs = make(tmp_path / "model"), tiny_clip_pairs(tmp_path / "clips", frames=8)

    def said(name, frames, **settings):
        settings = {"model": {"kind": "video", "clip": {"frames": frames}, **settings}}
        return estimated(memory_line(tiny_recipe(model, tmp_path / name, **settings), pairs, capsys))[0]

    four, eight = said("four", 4), said("eight", 8)
    assert eight == pytest.approx(2 * four, rel=0.1)
    assert said("twice", 8, gradient_checkpointing=True) < 0.4 * eight


def test_sdxl_is_followed_with_its_second_encoder(pairs, tmp_path, capsys):
    model = tiny_sdxl(tmp_path / "sdxl")
    assert estimated(memory_line(tiny_recipe(model, tmp_path / "run"), pairs, capsys))[0] > 0


@pytest.mark.parametrize("loss", ["logistic", "tdpo2"])
def test_a_language_model_says_it_for_its_longest_pairs(loss, tmp_path, capsys):
    recipe = {
        "model": {"kind": "text", "path": str(tiny_llm(tmp_path / "llm")), "adapter": {"rank": 2}},
        "data": {"train": "in memory"},
        "loss": {"name": loss, "beta": 0.1},
        "train": {"steps": 1, "batch_size": 4, "micro_batch_size": 2, "learning_rate": 1e-3, "mixed_precision": "no"},
        "output": str(tmp_path / "run"),
    }
    assert loss in LOSSES
    size, count = estimated(memory_line(recipe, text_pairs(4), capsys))
    assert count == 2 and size > 0


def test_a_network_that_cannot_be_followed_is_said_in_words(model, pairs, tmp_path, capsys, monkeypatch):
    from diffusers import UNet2DConditionModel

    forward = UNet2DConditionModel.forward

    def depends_on_values(unet, x, *args, **kwargs):
        return forward(unet, x if bool((x > 1e9).any()) else x * 1.0, *args, **kwargs)

    monkeypatch.setattr(UNet2DConditionModel, "forward", depends_on_values)
    line = memory_line(tiny_recipe(model, tmp_path / "run"), pairs, capsys)
    assert "activations (not estimated: the network cannot be followed without values, DataDependentOutput" in line


def test_a_small_network_and_a_policy_of_another_kind_are_not_followed(model, pairs, tmp_path, capsys, monkeypatch):
    line = memory_line(toy_recipe(tmp_path / "toy"), toy_pairs(), capsys, policy=ToyPolicy())
    assert "activations (not estimated: this policy has no trial_forward)" in line
    monkeypatch.setattr(module, "SMALL", 10**6)
    line = memory_line(tiny_recipe(model, tmp_path / "run"), pairs, capsys)
    assert "activations (not estimated for so small a model)" in line
