"""The loop with text-to-video models: every published method trains on clips, and a run that is killed while it
encodes, samples or trains ends in the same weights."""

import math

import pytest
import torch

from diffalign.errors import ConfigError
from diffalign.policies.diffusion.encoding.frozen_components import FrozenComponents
from diffalign.policies.diffusion.policy import DenoiserPolicy
from diffalign.training.recipe.load import make_recipe
from tests.tiny_video import FRAMES, tiny_clip_pairs, tiny_modelscope, tiny_motion
from tests.training.tiny_runs import losses, run, state


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    return tiny_clip_pairs(tmp_path_factory.mktemp("clips"))


@pytest.fixture(scope="module")
def motion(tmp_path_factory):
    return tiny_motion(tmp_path_factory.mktemp("motion"))


@pytest.fixture(scope="module")
def modelscope(tmp_path_factory):
    return tiny_modelscope(tmp_path_factory.mktemp("modelscope"))


@pytest.fixture
def animated(motion):
    """Settings of an image model that a motion adapter makes a video model."""
    return {"motion": str(motion), "clip": {"frames": FRAMES}}


METHODS = {
    "diffusion_dpo": {},
    "ddim_inpo": {"latents": {"name": "ddim_inversion", "steps": 2}},
    "smpo": {"latents": {"name": "renoise", "steps": 2}, "labels": "hard"},
    "seppo": {"pairs": {"name": "checkpoint", "every": 1, "select": "latest", "steps": 2, "guidance": 2.0, "batch": 2}},
}


@pytest.mark.parametrize("method", METHODS)
def test_every_method_trains_on_clips_from_log_two(model, animated, clips, tmp_path, method):
    output = tmp_path / "run"
    result = run(model, output, clips, method=method, model=animated, **METHODS[method])
    found = losses(output)
    assert len(found) == 2 and found[0] == pytest.approx(math.log(2), abs=1e-6) and all(map(math.isfinite, found))
    assert result.artifact.exists() and any(value.any() for value in state(result).values())


@pytest.mark.parametrize(
    "weights", [{"adapter": None, "trains": "motion"}, {"adapter": None}], ids=["motion modules", "every weight"]
)
def test_without_an_adapter_the_result_is_a_pipeline(model, animated, clips, tmp_path, weights):
    result = run(model, tmp_path / "run", clips, model={**animated, **weights})
    assert (result.artifact / "model_index.json").exists()
    assert (result.artifact / "motion_adapter").is_dir()
    assert losses(tmp_path / "run")[0] == pytest.approx(math.log(2), abs=1e-6)


def test_a_model_with_temporal_convolutions_trains_too_and_checkpointing_changes_no_bit(modelscope, clips, tmp_path):
    results = []
    for twice in (False, True):
        settings = {"clip": {"frames": FRAMES}, "adapter": {"rank": 2, "targets": "temp-conv"}}
        output = tmp_path / str(twice)
        results.append(run(modelscope, output, clips, model={**settings, "gradient_checkpointing": twice}))
    one, other = map(state, results)
    assert all(torch.equal(value, other[name]) for name, value in one.items())


def test_inversion_free_inpo_is_dpo_and_smpo_of_sure_labels_is_inpo(model, animated, clips, tmp_path):
    same = {"model": animated, "loss": {"name": "logistic", "beta": 500.0}, "labels": "hard"}
    forward, inverted = {"name": "forward"}, {"name": "ddim_inversion", "steps": 2}
    for name, latents, methods in (
        ("forward", forward, ("diffusion_dpo", "ddim_inpo")),
        ("inverted", inverted, ("ddim_inpo", "smpo")),
    ):
        curves = []
        for method in methods:
            output = tmp_path / f"{name}-{method}"
            run(model, output, clips, method=method, latents=latents, **same)
            curves.append(losses(output))
        assert curves[0] == curves[1] and curves[0][0] != curves[0][1]


class Killed(BaseException):
    """No error that anybody catches."""


@pytest.fixture
def die(monkeypatch):
    """``die(owner, "name", 3)``: the third call from now on kills the run."""

    def arm(owner, name, call):
        plain, calls = getattr(owner, name), []

        def dying(self, *arguments, **settings):
            calls.append(1)
            if len(calls) == call:
                monkeypatch.setattr(owner, name, plain)
                raise Killed
            return plain(self, *arguments, **settings)

        monkeypatch.setattr(owner, name, dying)

    return arm


def test_a_run_killed_in_encoding_sampling_and_training_ends_in_the_same_weights(model, animated, clips, tmp_path, die):
    settings = {
        "pairs": {"name": "checkpoint", "every": 2, "select": "latest", "steps": 2, "guidance": 2.0, "batch": 2},
        "labels": "seppo_gate",
        "train": {"steps": 4, "optimizer": "adamw", "learning_rate": 1e-3},
        "checkpoint": {"every": 3, "keep": 1},
    }
    straight = run(model, tmp_path / "straight", clips, **settings, model={**animated, "cache": str(tmp_path / "one")})
    settings["model"] = {**animated, "cache": str(tmp_path / "two"), "encode_batch": 8}
    for number, (owner, name, call) in enumerate(
        [(FrozenComponents, "posterior", 2), (DenoiserPolicy, "make_candidates", 2), (DenoiserPolicy, "logps", 3)]
    ):
        die(owner, name, call)
        with pytest.raises(Killed):
            run(model, tmp_path / "parts", clips, resume=number > 0, **settings)
    resumed = run(model, tmp_path / "parts", clips, resume=True, **settings)
    for name, value in state(straight).items():
        assert torch.equal(value, state(resumed)[name]), name
    assert losses(tmp_path / "parts") == losses(tmp_path / "straight")


def test_sampled_clips_stay_latents_in_half_precision(model, animated, clips, tmp_path):
    result = run(model, tmp_path / "run", clips, method="seppo", model=animated, **METHODS["seppo"])
    rounds = list((tmp_path / "run").rglob("*.safetensors"))
    from safetensors import safe_open

    kinds = set()
    for file in rounds:
        with safe_open(file, "pt") as stored:
            for key in stored.keys():  # noqa: SIM118 (not a dict)
                if key.endswith("::mean"):
                    tensor = stored.get_tensor(key)
                    kinds.add((tensor.dtype, tuple(tensor.shape)))
    assert kinds == {(torch.float16, (1, 4, FRAMES, 8, 8))} and result.policy.forward_counts.sampling > 0


def test_a_setting_of_clips_is_refused_for_images(model, tmp_path):
    with pytest.raises(ConfigError, match="clip"):
        make_recipe({"model": {"path": str(model), "clip": {"frames": 3}}, "data": {"train": "x"}, "method": "dpo"})


def test_a_prompt_that_names_a_side_is_not_mirrored(model, animated, clips, tmp_path):
    from dataclasses import replace

    pairs = [replace(clips[0], prompt="a fox that turns clockwise"), *clips[1:]]
    with pytest.raises(ConfigError, match="'clockwise'.*model.flip=none"):
        run(model, tmp_path / "run", pairs, model={**animated, "flip": "joint"})
    run(model, tmp_path / "plain", pairs, model={**animated, "flip": "none"})
