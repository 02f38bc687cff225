"""The embedded model: its grammar, split, tokenizer and files."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from pipelines.embedded import measure, noising, pairs, scenes, scorer_images, training_utils, word_tokenizer

ASSETS = Path(__file__).resolve().parents[2] / "assets" / "emoji"
needs_assets = pytest.mark.skipif(
    not (ASSETS / "model").exists(), reason="the embedded assets are not in this checkout"
)


def some_scenes(n: int, holdout: bool = False) -> list[scenes.Scene]:
    rng = np.random.default_rng(3)
    return [scenes.unsay(scenes.draw(rng, holdout=holdout), rng) for _ in range(n)]


def test_every_prompt_parses_to_its_scene():
    for scene in some_scenes(2000):
        assert scenes.parse(scene.prompt) == scene


@pytest.mark.parametrize("prompt", ["", "a fox", "one foxes", "a drawing of a octopus", "a blue drawing of a fox"])
def test_sentences_outside_the_grammar_are_refused(prompt):
    with pytest.raises(ValueError, match="grammar|subject"):
        scenes.parse(prompt)


def test_training_and_held_out_combinations_are_disjoint_and_about_an_eighth_is_held_out():
    rng = np.random.default_rng(4)
    seen = {scenes.draw(rng).combination for _ in range(3000)}
    kept = {scenes.draw(rng, holdout=True).combination for _ in range(1000)}
    assert not seen & kept
    every = [scenes.held_out(s, b, c) for s in scenes.BY_WORD for b in scenes.BACKGROUNDS for c in (1, 2, 3)]
    assert 0.08 < np.mean(every) < 0.16


def test_near_misses_stay_in_the_training_combinations_and_break_the_prompt():
    rng = np.random.default_rng(5)
    for _ in range(300):
        scene = scenes.draw(rng)
        other = scorer_images.near_miss(scene, rng)
        assert not scenes.held_out(*other.combination)
        assert scorer_images.matches([scene], [scene, other]).tolist() == [[True, False]]


def test_a_prompt_matches_every_scene_with_its_attributes():
    shown = [scenes.Scene("fox", 1, "flat", "blue", "left"), scenes.Scene("fox", 1, "noto", "blue", "top")]
    prompted = [scenes.Scene("fox"), scenes.Scene("fox", 1, "flat"), scenes.Scene("fox", 2), scenes.Scene("owl")]
    assert scorer_images.matches(prompted, shown).tolist() == [
        [True, True],
        [True, False],
        [False, False],
        [False, False],
    ]


def test_each_word_of_the_grammar_is_one_token_and_any_text_can_be_read(tmp_path):
    tokenizer = word_tokenizer.load(tmp_path)
    for word in [*scenes.vocabulary(), ","]:
        assert len(tokenizer(word).input_ids) == 3, word
    assert len(tokenizer("").input_ids) == 2
    assert len(tokenizer.tokenize("zebra ü")) > 2
    assert max(len(tokenizer(scene.prompt).input_ids) for scene in some_scenes(500)) <= word_tokenizer.LENGTH


def test_the_best_right_images_are_paired_with_the_best_wrong_ones_unless_the_judge_contradicts():
    wrong = np.array([[0, 1, 2, 0, 1], [0, 0, 0, 0, 0], [1, 0, 2, 2, 2]])
    scores = np.array([[0.8, 0.4, 0.9, 0.7, 0.6], [0.5, 0.5, 0.5, 0.5, 0.5], [0.9, 0.8, 0.1, 0.1, 0.1]])
    assert pairs.choose(wrong, scores, slack=0.0) == [(0, 3, 4)]
    assert pairs.choose(wrong, scores, slack=0.11) == [(0, 0, 2), (0, 3, 4), (2, 1, 0)]


def test_prompts_of_the_pairs_say_the_place_where_there_is_one():
    rng = np.random.default_rng(6)
    drawn = [pairs.placed(rng) for _ in range(200)]
    assert all((scene.place is None) == (scene.count == 3) for scene in drawn)
    assert any(scene.style is None for scene in drawn) and any(scene.background is None for scene in drawn)


def test_a_checkpoint_is_whole_or_absent(tmp_path):
    path = tmp_path / "state.pt"
    assert training_utils.load_checkpoint(path) is None
    training_utils.save_checkpoint(path, step=3)

    def fails(beside: Path) -> None:
        beside.write_bytes(b"half")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        training_utils.write_atomically(path, fails)
    assert training_utils.load_checkpoint(path) == {"step": 3}


@needs_assets
def test_the_assets_stay_under_seventy_five_megabytes():
    assert sum(path.stat().st_size for path in ASSETS.rglob("*") if path.is_file()) < 75e6


@needs_assets
def test_the_model_is_an_unmodified_stable_diffusion_pipeline_and_draws():
    from diffusers import StableDiffusionPipeline

    pipe = StableDiffusionPipeline.from_pretrained(ASSETS / "model")
    pipe.set_progress_bar_config(disable=True)
    image = pipe("a flat drawing of a fox", num_inference_steps=2, guidance_scale=3.0, output_type="np").images[0]
    assert image.shape == (64, 64, 3)
    assert np.isfinite(image).all()
    assert image.std() > 0.02


@needs_assets
def test_prompt_lists_are_disjoint_and_measure_what_was_held_out():
    lists = {path.stem: path.read_text().splitlines() for path in (ASSETS / "prompts").glob("*.txt")}
    assert {"dev", "test", "unnamed_background", "train"} <= set(lists)
    everything = [prompt for prompts in lists.values() for prompt in prompts]
    assert len(everything) == len(set(everything))
    for name in ("dev", "test"):
        assert all(scenes.held_out(*scenes.parse(prompt).combination) for prompt in lists[name])
    assert all(scenes.parse(prompt).background is None for prompt in lists["unnamed_background"])


@needs_assets
def test_pairs_name_images_that_exist_and_the_chosen_scores_higher():
    folder = ASSETS / "pairs" / "train"
    rows = [json.loads(line) for line in (folder / "metadata.jsonl").read_text().splitlines()]
    assert len(rows) >= 500
    for row in rows:
        assert row["chosen_score"] > row["rejected_score"]
        assert row["seed_chosen"] != row["seed_rejected"]
        scene = scenes.parse(row["prompt"])
        assert scene.background is None or not scenes.held_out(*scene.combination)
        assert (folder / row["chosen_file_name"]).exists()
        assert (folder / row["rejected_file_name"]).exists()


def test_number_and_place_of_objects_are_read_from_pixels():
    image = np.full((64, 64, 3), scenes.BACKGROUNDS["blue"], np.uint8)
    assert measure.object_boxes(image) == []
    image[4:24, 4:24] = 255
    assert measure.place_of(measure.object_boxes(image)) in ("left", "top")
    image[4:24, 36:56] = 255
    assert len(measure.object_boxes(image)) == 2
    assert measure.place_of(measure.object_boxes(image)) == "top"


@needs_assets
def test_pairs_can_keep_the_latents_that_their_images_were_decoded_from(tmp_path, monkeypatch):
    from types import SimpleNamespace

    from diffalign.data.storage.kept_latents import KeptLatent, latent_names, latent_space
    from diffalign.pairs.dataset import read_dataset
    from diffalign.policies.diffusion.load import ModelConfig, load_policy

    assets = tmp_path / "assets"
    (assets / "prompts").mkdir(parents=True)
    (assets / "prompts" / "train.txt").write_text("a drawing of a fox\ntwo apples\n")
    for name in ("model", "scorers"):
        (assets / name).symlink_to(ASSETS / name)
    settings = {"assets": assets, "work": tmp_path / "work", "samples": 2, "slack": 0.0}
    monkeypatch.setattr(pairs, "choose", lambda *_: [(0, 0, 1), (1, 1, 0)])
    options = SimpleNamespace(**settings, steps=2, guidance=1.0, latents=False)
    pairs.write_pairs(options)
    folder = assets / "pairs" / "train"
    plain = {path.name: path.read_bytes() for path in (folder / "images").iterdir()}
    assert len(plain) == 4 and not (folder / "latents.safetensors").exists()
    options.latents = True
    pairs.write_pairs(options)
    file = folder / "latents.safetensors"
    assert {path.name: path.read_bytes() for path in (folder / "images").iterdir()} == plain
    assert latent_names(file) == {f"images/{name}" for name in plain}
    policy = load_policy(ModelConfig(path=str(ASSETS / "model"), cache=tmp_path / "cache", flip="none"), "cpu")
    assert latent_space(file) == policy.latent_space()
    policy.check_kept_latents(read_dataset(str(folder), latents=str(file)).pairs)
    for name in plain:
        shown = training_utils.to_tensor(np.array(Image.open(folder / "images" / name))[None])
        latent = KeptLatent(str(file), f"images/{name}", folder).read()
        decoded = policy._frozen.decode(latent[None]).clamp(-1, 1)
        assert float((decoded - shown).abs().mean()) < 0.02  # the images were decoded in bfloat16
        assert torch.isfinite(latent).all()


def test_the_target_undoes_the_noise_and_inputs_of_pure_noise_lie_at_the_last_level_without_the_image():
    torch.manual_seed(0)
    alphas = torch.linspace(0.9, 0.01, 1000)
    clean = torch.full((400, 4, 4, 4), 3.0)
    noisy, t, target = noising.add_noise(clean, alphas, 0.3)
    a = alphas[t].view(-1, 1, 1, 1)
    assert torch.allclose((noisy - (1 - a).sqrt() * target) / a.sqrt(), clean, atol=1e-4)
    pure = t == 999
    assert 0.2 < pure.float().mean() < 0.4
    assert noisy[pure].mean().abs() < 0.05  # 0.3 with the image
    assert (t >= noising.NOISIEST).float().mean() > 0.5


def test_a_training_clock_counts_over_restarts_and_saves_the_last_state(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(training_utils.time, "monotonic", lambda: now[0])
    clock = training_utils.TrainingClock(minutes=2, spent=30.0, save_every=60.0)
    now[0] += 60.0
    clock.tick()
    assert (clock.spent, clock.share, clock.is_running, clock.save_is_due()) == (90.0, 0.75, True, False)
    now[0] += 1.0
    clock.tick()
    assert clock.save_is_due() and not clock.save_is_due()
    now[0] += 29.0
    clock.tick()
    assert not clock.is_running and clock.save_is_due()
