"""`diffalign data check --model` measures the noise of latents, for the inversions that are named."""

import json

import pytest
import torch

from diffalign.data.storage.kept_latents import write_latents
from diffalign.errors import ConfigError, DataError, UserError
from diffalign.policies.diffusion.load import AdapterConfig, ModelConfig, load_policy
from tests.cli.test_commands import call
from tests.tiny import tiny_pairs, tiny_sd
from tests.tiny_text import tiny_llm


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("latent-noise")
    tiny_sd(folder / "model")
    rows = [
        {
            "prompt": pair.prompt,
            "chosen_file_name": pair.chosen.name,
            "rejected_file_name": pair.rejected.name,
            "seed_chosen": 2 * i,
            "seed_rejected": 2 * i + 1,
        }
        for i, pair in enumerate(tiny_pairs(folder / "pairs"))
    ]
    (folder / "pairs" / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "texts.jsonl").write_text(json.dumps({"prompt": "Why?", "chosen": "yes", "rejected": "no"}) + "\n")
    return folder


def check(place, *options):
    return " ".join(call("data", "check", place / "pairs", "--model", place / "model", *options).split())


def test_without_more_options_the_inversions_of_the_published_methods_are_measured(place):
    before = sorted(place.rglob("*"))
    shown = check(place, "--model-pairs", 2)
    assert "ddim_inversion: rms by level" in shown and "renoise: rms by level" in shown
    assert shown.count("with the noise of 4 seeds, at level 999") == 2 and shown.count("(2 pairs,") == 2
    assert sorted(place.rglob("*")) == before, "a check writes nothing"


def test_the_latents_that_are_named_are_measured_and_a_lack_of_noise_is_a_warning_with_its_fix(place):
    named = [part for text in ("steps=2", "unit_noise=rescale") for part in ("--inversion", f"ddim_inversion,{text}")]
    options = ("--model-pairs", 2, *named)
    shown = check(place, *options)
    assert (
        "ddim_inversion (steps 2): rms" in shown and "ddim_inversion (unit_noise rescale): rms by level 1.00" in shown
    )
    assert "1 warning" in shown and "docs/choosing.md, Less noise than the level says." in shown
    with pytest.raises(AssertionError):  # the command ends with 1
        check(place, *options, "--strict")
    shown = check(place, "--method", "diffusion_dpo", "--model-setting", "timesteps=[500, 1000]", "--model-pairs", 2)
    assert "forward: rms by level" in shown and "at 562" in shown and "0 forward passes" in shown


def test_kept_latents_are_measured_in_the_place_of_images(place):
    """Latents that are all alike give an inversion another path than the images do."""
    names = [path.name for path in (place / "pairs").glob("*.png")]
    policy = load_policy(ModelConfig(path=str(place / "model"), adapter=AdapterConfig(rank=1), use_cache=False), "cpu")
    latents = {name: torch.zeros(4, 8, 8) for name in names}
    file = write_latents(place / "pairs" / "latents.safetensors", latents, policy.latent_space())
    named = ("--inversion", "ddim_inversion,steps=2", "--model-pairs", 1)
    try:
        images, kept = check(place, *named), check(place, *named, "--kept-latents", file)
        assert "rms by level" in kept and kept != images
        with pytest.raises(DataError, match="lacks the latents"):
            write_latents(file, {names[0]: latents[names[0]]}, policy.latent_space())
            check(place, *named, "--kept-latents", file)
    finally:
        file.unlink()


@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        (("--inversion", "renois"), ConfigError, r"--inversion renois: .*renoise"),
        (("--inversion", "renoise,corrections"), ConfigError, r"--inversion corrections is not KEY=VALUE"),
        (("--inversion", "renoise,corrections=-1"), ConfigError, r"--inversion .*corrections is how often.*got -1"),
        (("--method", "ddim_inp"), ConfigError, r"no method 'ddim_inp'.*ddim_inpo"),
    ],
)
def test_a_wrong_name_or_value_is_refused_before_the_model_is_opened(place, options, error, says):
    with pytest.raises(error, match=says):
        call("data", "check", place / "pairs", "--model", place / "nowhere", *options)


def test_what_has_no_latents_is_refused(place):
    with pytest.raises(UserError, match="holds texts"):
        call("data", "check", place / "texts.jsonl", "--model", place / "model")
    tiny_llm(place / "llm")
    with pytest.raises(UserError, match="makes texts. Leave it out"):
        call("data", "check", place / "texts.jsonl", "--model", place / "llm")
    with pytest.raises(UserError, match="--model FOLDER"):
        call("data", "check", place / "pairs", "--inversion", "renoise")
