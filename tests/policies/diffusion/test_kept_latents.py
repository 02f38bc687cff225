"""Images that a model drew, trained on at the latents that they were decoded from."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import ImageStat

from diffalign.data.storage.kept_latents import KeptLatent, LatentSpace, latent_names, latent_space, write_latents
from diffalign.errors import ConfigError, DataError, RunError, UserError
from diffalign.pairs.dataset import read_dataset
from diffalign.pairs.making.make_pairs import make_pairs
from diffalign.training.align import align
from diffalign.training.loop import train
from tests.evaluation.fakes import TalkingPolicy
from tests.policies.conftest import draw_for, inputs_of, margin, shake
from tests.training.tiny_runs import state, tiny_recipe

PROMPTS = ["a fox", "two red apples", "an owl"]
SETTINGS = {"answers": 3, "batch_size": 2, "steps": 2, "guidance": 3.0}


class Brightness:
    """Scores an image by its mean value."""

    name, unit, range, license, paper, weights, medium = "bright", "levels", (0.0, 255.0), "none", "none", "", "image"

    def score(self, prompts, images):
        return torch.tensor([sum(ImageStat.Stat(image).mean) for image in images])


def drawn(policy, folder, **settings):
    return make_pairs(policy, PROMPTS, Brightness(), folder, **{**SETTINGS, "keep_latents": True, **settings})


@pytest.fixture(scope="module")
def folder(sd, tmp_path_factory):
    """Pairs of a tiny model's own samples, with their latents."""
    from diffalign.policies.diffusion.load import ModelConfig, load_policy

    folder = tmp_path_factory.mktemp("own")
    drawn(load_policy(ModelConfig(path=str(sd), cache=folder / "cache", flip="none"), "cpu"), folder / "pairs")
    return folder / "pairs"


def kept_pairs(folder):
    return read_dataset(str(folder / "pairs.jsonl"), latents=str(folder / "latents.safetensors")).pairs


def test_the_latent_of_every_image_is_kept_and_the_images_are_those_drawn_without(make, folder, tmp_path):
    plain = drawn(make(flip="none"), tmp_path / "plain", keep_latents=False)
    assert plain.latents is None and not (tmp_path / "plain" / "latents.safetensors").exists()
    images = sorted(path.name for path in folder.glob("*.png"))
    assert len(images) == 9 == len(latent_names(folder / "latents.safetensors"))
    assert latent_names(folder / "latents.safetensors") == set(images) and not (folder / ".latents").exists()
    assert all((folder / name).read_bytes() == (tmp_path / "plain" / name).read_bytes() for name in images)
    assert (folder / "pairs.jsonl").read_text() == plain.path.read_text()


def test_a_kept_latent_is_scored_itself_without_noise_of_a_posterior(make, folder):
    policy, pairs = make(flip="none"), kept_pairs(folder)
    rows = [json.loads(line) for line in (folder / "metadata.jsonl").read_text().splitlines()]
    sources = {row["file_name"]: row for row in rows}
    policy.prepare(pairs)
    encoded = policy.encode(pairs)
    clean = [policy._denoiser.clean(encoded, draw_for(pairs, visit=visit)) for visit in (0, 5)]
    assert torch.equal(*clean) and not encoded.std.any() and encoded.mean.shape[2] == 1
    chosen = [sources[pair.chosen.name] for pair in pairs]
    prompts, seeds = [row["prompt"] for row in chosen], [row["seed"] for row in chosen]
    true = policy.sample(prompts, seeds, latents_only=True, steps=2, guidance=3.0)
    torch.testing.assert_close(clean[0][: len(pairs)], torch.stack(true), rtol=1e-3, atol=1e-3)
    stored = policy._denoiser.clean(policy.encode(read_dataset(str(folder / "pairs.jsonl")).pairs), draw_for(pairs))
    assert (stored - clean[0]).norm() > 20 * (clean[0][: len(pairs)] - torch.stack(true)).norm()


def test_no_image_is_opened_or_encoded_where_latents_are_kept(make, folder, tmp_path):
    for name in ("pairs.jsonl", "latents.safetensors"):
        shutil.copy(folder / name, tmp_path / name)
    for name in latent_names(folder / "latents.safetensors"):
        (tmp_path / name).write_bytes(b"no image")
    policy, pairs = make(flip="none"), kept_pairs(tmp_path)
    policy.prepare(pairs)
    assert not len(policy._encoder._images)
    assert torch.equal(margin(policy, policy.encode(pairs), draw_for(pairs)), torch.zeros(len(pairs)))
    assert margin(shake(policy), policy.encode(pairs), draw_for(pairs)).abs().min() > 0


def test_kept_latents_are_part_of_the_identity_of_what_is_stored_by_pair(make, folder):
    policy, pairs = make(flip="none"), kept_pairs(folder)
    plain = read_dataset(str(folder / "pairs.jsonl")).pairs
    assert not set(policy.encode(pairs).keys) & set(policy.encode(plain).keys)
    inputs = [inputs_of(policy, policy.encode(rows), draw_for(pairs)).x_t for rows in (pairs, plain)]
    assert not torch.allclose(*inputs)


def test_a_pair_is_shown_with_its_image_and_that_its_latent_is_meant(make, folder):
    pair = kept_pairs(folder)[0]
    assert f"{pair.chosen.image.name} (its latent) better than" in make(flip="none").show(pair)


def rewritten(folder, space=None, change=lambda latent: latent):
    """Returns pairs whose file of latents is changed."""
    copy = folder / "changed"
    pairs = kept_pairs(folder)
    kept = {c.name: change(c.read()) for pair in pairs for c in (pair.chosen, pair.rejected)}
    write_latents(copy / "latents.safetensors", kept, space or latent_space(folder / "latents.safetensors"))
    moved = lambda c: replace(c, file=str(copy / "latents.safetensors"))
    return [replace(pair, chosen=moved(pair.chosen), rejected=moved(pair.rejected)) for pair in pairs]


def test_latents_of_another_model_are_refused_in_one_sentence_that_says_how_to_encode(make, folder):
    own = latent_space(folder / "latents.safetensors")
    assert make(flip="none").latent_space() == own
    cases = {
        "are of the autoencoder bbbbbbbb, but": LatentSpace("b" * 32, own.scale),
        "have the scale '- 0 x 0.5', but this model's is": LatentSpace(own.autoencoder, "- 0 x 0.5"),
    }
    for reason, space in cases.items():
        with pytest.raises(DataError, match=reason) as error:
            make(flip="none").prepare(rewritten(folder, space))
        assert "--set data.latents=null" in str(error.value)
    for change, reason in ((lambda x: x[:, :4, :4], r"shape \(4, 4, 4\)"), (lambda x: x / 0, "not finite")):
        with pytest.raises(DataError, match=reason):
            make(flip="none").prepare(rewritten(folder, change=change))


def test_mirroring_is_refused_where_latents_are_kept(make, folder):
    for flip in ("joint", "independent"):
        with pytest.raises(ConfigError, match=r"no mirrored view.*--set model.flip=none.*--set data.latents=null"):
            make(flip=flip).prepare(kept_pairs(folder))


class Killed(Brightness):
    def score(self, prompts, images):
        raise KeyboardInterrupt


def test_an_interrupted_drawing_keeps_the_latents_that_it_has(make, folder, tmp_path):
    policy = make(flip="none")
    calls = []
    original = policy.sample_with_latents

    def counted(prompts, seeds, **settings):
        calls.append(len(prompts))
        if len(calls) == 3:
            raise KeyboardInterrupt
        return original(prompts, seeds, **settings)

    policy.sample_with_latents = counted
    with pytest.raises(KeyboardInterrupt):
        drawn(policy, tmp_path / "own")
    drawn(policy, tmp_path / "own")
    assert calls == [2, 2, 2, 2, 2, 1]  # four were there
    assert (tmp_path / "own" / "latents.safetensors").read_bytes() == (folder / "latents.safetensors").read_bytes()
    drawn(policy, tmp_path / "own")
    assert len(calls) == 6


def test_images_that_were_drawn_without_latents_are_drawn_again_to_the_same_bytes(make, tmp_path):
    policy = make(flip="none")
    drawn(policy, tmp_path, keep_latents=False)
    before = {path.name: path.read_bytes() for path in tmp_path.glob("*.png")}
    made = drawn(policy, tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.glob("*.png")} == before
    assert latent_names(made.latents) == set(before) and f"--set data.latents={made.latents}" in made.summary()


def test_a_model_of_texts_has_no_latents_to_keep(tmp_path):
    with pytest.raises(UserError, match=r"makes texts.*--latents"):
        make_pairs(TalkingPolicy(), ["a"], BrightnessOfTexts(), tmp_path, answers=2, keep_latents=True)


class BrightnessOfTexts(Brightness):
    medium = "text"


def recipe(sd, folder, output, latents=True, **changes):
    data = {"train": str(folder / "pairs.jsonl"), "eval": str(folder / "pairs.jsonl")}
    kept = {name: str(folder / "latents.safetensors") for name in ("latents", "eval_latents")} if latents else {}
    return tiny_recipe(sd, output, data={**data, **kept}, checkpoint={"every": 1}, **changes)


def test_a_run_on_kept_latents_says_so_starts_at_log_2_and_knows_them_on_resume(sd, folder, tmp_path, capsys):
    output = tmp_path / "run"
    align(recipe(sd, folder, output), check_only=True)
    header = capsys.readouterr().err
    assert "the kept latents of 6 images are scored" in header and "(its latent)" in header and not output.exists()
    result = train(recipe(sd, folder, output))
    first = json.loads((output / "metrics.jsonl").read_text().splitlines()[0])
    assert first["loss"] == pytest.approx(0.6931472, abs=1e-6)
    plain = train(recipe(sd, folder, tmp_path / "plain", latents=False))
    assert any(not torch.equal(a, b) for a, b in zip(state(result).values(), state(plain).values(), strict=True))
    with pytest.raises(RunError, match=r"data\.latents was '.*', now None"):
        train(recipe(sd, folder, output, latents=False), resume=True)
    moved = tmp_path / "moved"
    shutil.copytree(folder, moved)
    copy = moved / "latents.safetensors"
    held = {n: KeptLatent(str(copy), n, Path(n)).read() * (1.1 if i else 1) for i, n in enumerate(latent_names(copy))}
    space = latent_space(copy)
    other = recipe(sd, folder, tmp_path / "again")
    train(other)
    shutil.copy(folder / "latents.safetensors", tmp_path / "kept")
    try:
        write_latents(folder / "latents.safetensors", held, space)
        with pytest.raises(RunError, match="prompts, candidates or ids among its 3 rows changed"):
            train(other, resume=True)
    finally:
        shutil.copy(tmp_path / "kept", folder / "latents.safetensors")


def test_latents_that_do_not_fit_are_refused_before_anything_is_written(sd, folder, tmp_path):
    with pytest.raises(ConfigError, match="model.flip=none"):
        align(recipe(sd, folder, tmp_path / "run", model={"flip": "joint"}), check_only=True)
    lacking = recipe(sd, folder, tmp_path / "run")
    values = lacking.data.model_copy(update={"eval_latents": str(tmp_path / "none")})
    with pytest.raises(DataError, match=r"--set data.eval_latents=null"):
        align(lacking.model_copy(update={"data": values}), check_only=True)
    assert not (tmp_path / "run").exists()
