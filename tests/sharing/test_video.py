"""What is shared of a text-to-video model: plain diffusers makes the same frames of it, by the lines of its card."""

import re

import pytest
import torch
import yaml
from typer.testing import CliRunner

from diffalign.cli import app
from diffalign.policies.adapters import AdapterConfig
from diffalign.policies.diffusion.load import VideoModelConfig, load_aligned, load_policy
from diffalign.sharing.card import Card
from diffalign.sharing.read_adapter import read_adapter
from tests.policies.conftest import shake
from tests.tiny import tiny_sd, tiny_sdxl
from tests.tiny_video import FRAMES, tiny_modelscope, tiny_motion

MODELS = {"animatediff": tiny_sd, "animatediff xl": tiny_sdxl, "modelscope": tiny_modelscope}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """The folders of each base, and of the motion adapter."""
    top = tmp_path_factory.mktemp("models")
    return {
        **{name: make(top / name.replace(" ", "-")) for name, make in MODELS.items()},
        "motion": tiny_motion(top / "m"),
    }


@pytest.fixture(params=MODELS)
def config(request, folders, tmp_path):
    motion = None if request.param == "modelscope" else str(folders["motion"])
    return VideoModelConfig(
        path=str(folders[request.param]),
        motion=motion,
        clip={"frames": FRAMES},
        cache=tmp_path / "cache",
        adapter=AdapterConfig(rank=2, alpha=3.0, targets="attention+mlp"),
    )


def frames(pipeline):
    pipeline.set_progress_bar_config(disable=True)
    settings = {"num_frames": FRAMES, "num_inference_steps": 2, "guidance_scale": 3.0, "output_type": "latent"}
    settings |= {"height": 16, "width": 16}
    return pipeline("a fox", generator=torch.Generator().manual_seed(5), **settings).frames[0]


def ours(policy):
    return policy.sample(["a fox"], [5], steps=2, guidance=3.0, latents_only=True)[0]


@pytest.fixture
def result(config, tmp_path):
    """A trained policy, its adapter file and its card."""
    policy = shake(load_policy(config, "cpu"), scale=0.1)
    path = policy.save(tmp_path / "result", {"method": "dpo"})
    return policy, path, policy.card(path, Card(method="dpo")).read_text()


def test_the_lines_of_the_card_make_the_same_frames(result, config, folders, tmp_path, monkeypatch):
    policy, path, card = result
    code = re.search(r"```python\n(.*?)```", card, re.S).group(1)
    code = code[: code.index('pipeline("a fox runs')]
    for folder in folders.values():  # the card names a local base by its last part only
        code = code.replace(f"'{folder.name}'", repr(str(folder))).replace(f'"{folder.name}"', repr(str(folder)))
    code = code.replace('"result"', repr(str(path.parent))).replace("'result'", repr(str(path.parent)))
    names = {}
    exec(code, names)  # noqa: S102
    found, expected = frames(names["pipeline"]), ours(policy)
    base = policy.sample(["a fox"], [5], steps=2, guidance=3.0, latents_only=True, reference=True)[0]
    assert (expected - base).abs().max() > 1e-2
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4 * float(expected.abs().max()))
    front = yaml.safe_load(card.split("---")[1])
    assert front["pipeline_tag"] == "text-to-video" and "lora" in front["tags"]
    assert ("diffalign merge" in card) == (config.motion is None)


def test_the_file_states_the_motion_adapter_and_the_frames(result, config):
    about = read_adapter(result[1]).about
    assert about["frames"] == FRAMES and about["fps"] == 8.0
    assert about.get("motion") == (None if config.motion is None else "m")
    again = load_aligned(config.model_copy(update={"adapter": None}), result[1], "cpu")
    torch.testing.assert_close(ours(again), ours(result[0]), rtol=1e-3, atol=1e-3)  # the scale is folded into B


def test_merged_into_its_base_it_is_a_pipeline_with_the_same_frames(result, config, tmp_path):
    import diffusers

    policy, path, _ = result
    motion = [] if config.motion is None else ["--model-setting", f"motion={config.motion}"]
    command = ["merge", str(path), "--into", config.path, "--output", str(tmp_path / "merged"), *motion]
    outcome = CliRunner().invoke(app, command)
    assert outcome.exit_code == 0, outcome.output
    pipeline = diffusers.DiffusionPipeline.from_pretrained(tmp_path / "merged")
    expected = ours(policy)
    # Merged weights round otherwise than base and adapter apart: 1.8e-5 of the largest value was seen on one processor.
    torch.testing.assert_close(frames(pipeline), expected, rtol=1e-4, atol=5e-5 * float(expected.abs().max()))
