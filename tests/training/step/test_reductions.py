"""What methods have in common: where one is another with a part exchanged, whole training steps agree to the bit."""

import math
import zlib
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from diffalign.methods import METHODS
from diffalign.pairs import DatasetPairs
from diffalign.pairs.checkpoint_samples import CheckpointPairs
from diffalign.policies.diffusion.load import load_policy
from diffalign.training.loop import train
from diffalign.training.recipe.bind import bind_loss
from diffalign.training.recipe.load import make_recipe
from diffalign.training.recipe.model_kinds import open_model
from tests.tiny_text import text_pairs, tiny_llm
from tests.tiny_video import FRAMES, tiny_clip_pairs, tiny_motion
from tests.training.tiny_runs import losses, run, state, tiny_recipe


def with_scores(pairs):
    """Pairs with scores whose gaps differ, one of them against the vote."""
    gaps = (0.3, -0.2, 0.1, 0.4)
    rows = [
        replace(pair, scores={"chosen": {"judge": 0.5 + gap}, "rejected": {"judge": 0.5}})
        for pair, gap in zip(pairs, gaps, strict=True)
    ]
    return DatasetPairs(tuple(rows), ranges={"judge": (0.0, 1.0)})


@pytest.fixture(scope="module")
def scored(pairs):
    return with_scores(pairs)


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    """Settings of a video model, and pairs of clips."""
    motion = tiny_motion(tmp_path_factory.mktemp("motion"))
    settings = {"kind": "video", "motion": str(motion), "clip": {"frames": FRAMES}}
    return settings, with_scores(tiny_clip_pairs(tmp_path_factory.mktemp("clips")))


@pytest.fixture(scope="module", params=["images", "clips"])
def medium(request, scored):
    """Settings of the model, and pairs: latents of four axes, and of five."""
    return ({}, scored) if request.param == "images" else request.getfixturevalue("clips")


@pytest.fixture(scope="module")
def trained(model, medium, tmp_path_factory):
    """``trained(method, **changes)``: losses and weights after two steps; each combination is trained once."""
    settings, scored = medium
    folder, known = tmp_path_factory.mktemp("runs"), {}

    def go(method, **changes):
        key = repr((method, sorted(changes.items())))
        if key not in known:
            output = folder / str(len(known))
            loss = {"name": "logistic", "beta": 500.0}
            train = {"optimizer": "sgd", "weight_decay": 0.0}
            usual = {"method": method, "model": settings, "loss": loss, "train": train}
            result = run(model, output, scored, **{**usual, **changes})
            known[key] = losses(output), state(result), result.policy.forward_counts
        return known[key]

    return go


def same(one, other):
    assert one[0] == other[0]
    assert all(torch.equal(value, other[1][name]) for name, value in one[1].items())


def differ(one, other):
    assert any(not torch.equal(value, other[1][name]) for name, value in one[1].items())


PLAIN = {"name": "score_scaled", "alpha": 1.0, "gamma": 1.0}
INVERSION = {"name": "ddim_inversion", "steps": 2}


def test_smpo_with_scale_one_and_noised_latents_is_diffusion_dpo(trained):
    same(trained("smpo", labels=PLAIN, latents="forward"), trained("diffusion_dpo"))
    differ(
        trained("smpo", labels={"name": "score_scaled", "scorer": "judge"}, latents="forward"), trained("diffusion_dpo")
    )


def test_smpo_with_scale_one_and_inverted_latents_is_ddim_inpo(trained):
    same(trained("smpo", labels=PLAIN, latents=INVERSION), trained("ddim_inpo", latents=INVERSION))
    same(trained("smpo", labels=PLAIN, latents={"name": "renoise", "steps": 2, "corrections": 0}),
         trained("ddim_inpo", latents=INVERSION))  # fmt: skip


def test_ddim_inpo_with_noised_latents_is_diffusion_dpo(trained):
    same(trained("ddim_inpo", latents="forward"), trained("diffusion_dpo"))
    differ(trained("ddim_inpo", latents=INVERSION), trained("diffusion_dpo"))


def test_stored_inversions_of_the_reference_are_those_of_each_step(trained):
    live = trained("ddim_inpo", latents={**INVERSION, "inverter": "reference"})
    kept = trained("ddim_inpo", latents={**INVERSION, "inverter": "reference", "store": True})
    same(live, kept)
    differ(live, trained("ddim_inpo", latents=INVERSION))  # at the second step the policy has moved
    # At the first step policy and reference are equal, whichever of them inverts.
    assert live[0][0] == trained("ddim_inpo", latents=INVERSION)[0][0]


def test_a_window_of_one_step_equals_inversion_at_each_step(trained):
    same(trained("ddim_inpo", latents={**INVERSION, "refresh": 1}), trained("ddim_inpo", latents=INVERSION))
    differ(trained("ddim_inpo", latents={**INVERSION, "refresh": 2}), trained("ddim_inpo", latents=INVERSION))


def test_a_gate_of_one_on_fixed_samples_is_diffusion_dpo(trained):
    train = {"optimizer": "sgd", "weight_decay": 0.0, "steps": 1}  # at the first step all chosen logratios are ties
    plain = trained("diffusion_dpo", train=train)
    same(trained("seppo", pairs="dataset", labels={"name": "seppo_gate", "tie": 1}, train=train), plain)
    differ(trained("seppo", pairs="dataset", labels={"name": "seppo_gate", "tie": 0}, train=train), plain)


def test_self_play_from_the_initial_model_is_diffusion_dpo_on_its_samples(model, medium, tmp_path, monkeypatch):
    video, pairs = medium
    rounds, begin_round = [], CheckpointPairs.begin_round
    monkeypatch.setattr(CheckpointPairs, "begin_round", lambda *args: rounds.append(begin_round(*args)) or rounds[-1])
    source = {"name": "checkpoint", "every": 2, "select": "initial", "seeds": "checkpoint", "steps": 2}
    train = {"steps": 4, "optimizer": "sgd"}
    settings = {"model": video, "loss": {"name": "logistic", "beta": 500.0}, "train": train}
    online = run(model, tmp_path / "online", pairs, method="seppo", pairs=source, labels="hard", **settings)
    assert len(rounds) == 2 and rounds[0] == rounds[1]
    offline = run(model, tmp_path / "offline", rounds[0], method="diffusion_dpo", **settings)
    same((losses(tmp_path / "online"), state(online)), (losses(tmp_path / "offline"), state(offline)))
    assert losses(tmp_path / "online")[-1] != losses(tmp_path / "online")[0]


LAW = {
    "diffusion_dpo": {},
    "diffusion_dpo_paper": {},
    "diffusion_dpo_sdxl": {},
    "ddim_inpo": {"latents": {"steps": 2}},
    "ddim_inpo_sdxl": {"latents": {"steps": 2}},
    "ddim_inpo_unit_noise": {"latents": {"steps": 2}},
    "smpo": {"latents": {"steps": 2}, "labels": {"scorer": "judge"}},
    "smpo_sdxl": {"latents": {"steps": 2}, "labels": {"scorer": "judge"}},
    "smpo_unit_noise": {"latents": {"steps": 2}, "labels": {"scorer": "judge"}},
    "seppo": {"pairs": {"steps": 2, "every": 2}},
    "sft": {},
    "mapo": {},
    "diffusion_ipo": {},
}


TEXTS = sorted(name for name, method in METHODS.items() if method.defaults.get("model", {}).get("kind") == "text")


VIDEO = {"video_dpo": {"model": {"clip": {"rule": "rate", "frames": FRAMES}}}}


def test_every_method_is_one_for_images_for_clips_or_for_texts():
    assert sorted([*LAW, *VIDEO, *TEXTS]) == sorted(METHODS)


@pytest.fixture(scope="module")
def llm(tmp_path_factory):
    return tiny_llm(tmp_path_factory.mktemp("llm"))


def of_its_letters(prompts, answers):
    """A judge that tells any two answers apart."""
    return [float(zlib.crc32(answer.encode()) % 9973) for answer in answers]


def short_rounds(method):
    """What no preset can know, who judges, and few short answers in a short round."""
    if method.name == "hypo":
        return {"pairs": {"max_new_tokens": 6}}
    pairs = {"judge": f"text_function:{__name__}:of_its_letters", "answers": 4, "max_new_tokens": 6, "every": 2}
    own = {"rso": {"keep": 2}, "dno": {"threshold": 5000.0}, "egpo": {"every": 1}, "nash_mp": {"every": 1}}
    return {"pairs": {**pairs, **own.get(method.name, {})}}


@pytest.mark.parametrize("method", TEXTS)
def test_every_preset_for_texts_starts_at_its_known_loss_and_moves_only_the_policy(llm, tmp_path, method):
    recipe = make_recipe(
        {
            "method": method,
            "model": {"path": str(llm), "cache": str(tmp_path / "cache"), "adapter": {"rank": 2}},
            "data": {"train": "in memory"},
            "train": {
                "steps": 2,
                "batch_size": 4,
                "learning_rate": 1e-3,
                "mixed_precision": "no",
                "schedule": "constant",
                "warmup_steps": 0,
            },
            "log": {"every": 1},
            "checkpoint": {"every": 0},
            "guard": {"action": "off"},
            "output": str(tmp_path / "run"),
            **(short_rounds(METHODS[method]) if METHODS[method].parts["pairs"] == "rounds" else {}),
        }
    )
    held(recipe, open_model(recipe.model), text_pairs(6), method)


@pytest.mark.parametrize("method", LAW)
def test_every_preset_for_images_starts_at_its_known_loss_and_moves_only_the_policy(model, scored, tmp_path, method):
    changes = {**LAW[method], "train": {"learning_rate": 1e-3}}
    recipe = tiny_recipe(model, tmp_path / "run", method=method, **changes)
    held(recipe, load_policy(recipe.model, "cpu"), scored, method)


@pytest.mark.parametrize("method", VIDEO)
def test_every_preset_for_clips_starts_at_its_known_loss_and_moves_only_the_policy(
    model, clips, tmp_path, method, capsys
):
    settings, pairs = clips
    changes = {"model": {**settings, **VIDEO[method]["model"]}, "train": {"learning_rate": 1e-3}}
    recipe = tiny_recipe(model, tmp_path / "run", method=method, **changes)
    held(recipe, load_policy(recipe.model, "cpu"), pairs, method)
    assert f"6.51 = 5000 / {4 * FRAMES * 8 * 8} numbers of a latent" in capsys.readouterr().err  # beta / D


def held(recipe, policy, pairs, method):
    """Trains two steps and holds the run to what its method says."""
    trainable = policy.trainable()
    frozen = {n: p.detach().clone() for n, p in policy.module.named_parameters() if n not in trainable}
    before = policy.state()
    train(recipe, policy=policy, pairs=pairs)
    at_zero = bind_loss(recipe.loss).at_zero
    first, second = losses(Path(recipe.output))
    if METHODS[method].needs_reference and at_zero is not None:
        assert first == pytest.approx(at_zero, rel=1e-6, abs=1e-6)
        if recipe.loss.name == "logistic":
            assert first == pytest.approx(math.log(2), abs=1e-6)
    if not METHODS[method].needs_reference:
        assert at_zero is None and policy.forward_counts.reference == 0
    begins_again = recipe.pairs.hyper.get("border") == "extragradient"  # its second phase, from the same weights
    assert (begins_again or second != first) and math.isfinite(second)
    assert any(not torch.equal(value, before[name]) for name, value in policy.state().items())
    assert frozen and all(torch.equal(value, policy.module.get_parameter(name)) for name, value in frozen.items())
