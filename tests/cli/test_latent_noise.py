"""`diffalign data check --model` measures the noise of latents, for the inversions that are named."""

import json

import pytest

from diffalign.errors import ConfigError, UserError
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
    named = [part for text in ("steps=2", "unit_noise=rescale") for part in ("--latents", f"ddim_inversion,{text}")]
    options = ("--model-pairs", 2, *named)
    shown = check(place, *options)
    assert (
        "ddim_inversion (steps 2): rms" in shown and "ddim_inversion (unit_noise rescale): rms by level 1.00" in shown
    )
    assert "1 warning" in shown and "so both candidates of a pair teach" in shown and "docs/choosing.md" in shown
    with pytest.raises(AssertionError):  # the command ends with 1
        check(place, *options, "--strict")
    shown = check(place, "--method", "diffusion_dpo", "--model-setting", "timesteps=[500, 1000]", "--model-pairs", 2)
    assert "forward: rms by level" in shown and "at 562" in shown and "0 forward passes" in shown


@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        (("--latents", "renois"), ConfigError, r"--latents renois: .*renoise"),
        (("--latents", "renoise,corrections"), ConfigError, r"--latents corrections is not KEY=VALUE"),
        (("--latents", "renoise,corrections=-1"), ConfigError, r"--latents .*corrections is how often.*got -1"),
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
        call("data", "check", place / "pairs", "--latents", "renoise")
