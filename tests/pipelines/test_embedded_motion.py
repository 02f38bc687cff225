"""The embedded video model: its grammar, clips, words, judges and pairs."""

import numpy as np
import pytest
import torch

from pipelines.embedded import scenes, word_tokenizer
from pipelines.embedded.art import Art
from pipelines.embedded_motion import centroid, motion_pairs, motions, phase, render, train_motion, words
from tests.pipelines.test_embedded import ASSETS, needs_assets, some_scenes


class Things(dict):
    """Sprites without icon sets: the same spotted thing for every style and subject, red or dark by style."""

    def __missing__(self, key: tuple[str, str, int]) -> np.ndarray:
        style, _, size = key
        y, x = np.mgrid[:size, :size] / size - 0.5
        sprite = np.zeros((size, size, 4), np.uint8)
        sprite[..., :3] = (30, 30, 40) if style == "noto" else (250, 60, 150)
        sprite[(x - 0.1) ** 2 + (y + 0.15) ** 2 < 0.02, :3] = 230
        sprite[..., 3] = 255 * (x**2 + 1.5 * y**2 < 0.22)
        return sprite


ART = Art(Things())


def some_shots(n: int, holdout: bool = False) -> list[motions.Shot]:
    rng = np.random.default_rng(3)
    return [motions.draw(rng, holdout=holdout) for _ in range(n)]


def clip_of(motion: str, seed: int = 0, style: str = "noto") -> np.ndarray:
    scene = scenes.Scene("fox", 1, style, "yellow")
    return render.render(motions.Shot(scene, motion), ART, render.take(np.random.default_rng(seed)))


def test_every_prompt_parses_to_its_shot():
    for shot in [*some_shots(500), *some_shots(200, holdout=True)]:
        assert motions.parse(shot.prompt) == shot


@pytest.mark.parametrize(
    "prompt",
    [
        "",
        "leftwards",
        "a noto drawing of a fox on a blue background",
        "a noto drawing of a fox on a blue background, spinning",
        "a drawing of a fox on a blue background, leftwards",
        "two noto foxes on a blue background, leftwards",
        "a noto drawing of a fox on a blue background, on the left, still",
    ],
)
def test_sentences_that_state_no_clip_are_refused(prompt):
    with pytest.raises(ValueError, match="motion|grammar|one object"):
        motions.parse(prompt)


def test_training_and_held_out_combinations_are_disjoint_and_about_an_eighth_is_held_out():
    seen = {(shot.scene.subject, shot.motion) for shot in some_shots(2000)}
    kept = {(shot.scene.subject, shot.motion) for shot in some_shots(500, holdout=True)}
    assert not seen & kept
    assert {motion for _, motion in kept} == set(motions.MOTIONS)
    assert 0.08 < len(kept) / (len(scenes.SUBJECTS) * len(motions.MOTIONS)) < 0.16


def test_clips_show_only_things_on_grounds_that_the_image_model_was_trained_on():
    for shot in [*some_shots(300), *some_shots(300, holdout=True)]:
        assert not scenes.held_out(shot.scene.subject, shot.scene.background, 1)


@pytest.mark.parametrize("motion", motions.MOTIONS)
def test_the_judge_of_the_pairs_names_the_motion_of_every_rendered_clip(motion):
    for seed in range(8):
        frames = clip_of(motion, seed, ("noto", "flat")[seed % 2])
        assert frames.shape == (motions.FRAMES, 64, 64, 3)
        seen = centroid.look(frames)
        assert seen.motion == motion
        scores = {name: centroid.score(name, seen) for name in motions.MOTIONS}
        assert max(scores, key=scores.get) == motion
        assert scores[motion] > 0.7
        if motion in motions.OPPOSITES:
            assert scores[motions.OPPOSITES[motion]] < -0.7


def test_a_clip_in_which_the_thing_is_missing_once_shows_nothing_and_scores_least():
    frames = clip_of("leftwards")
    frames[4] = frames[4, 0, 0]
    seen = centroid.look(frames)
    assert seen.motion == "nothing"
    assert centroid.score("leftwards", seen) == -2
    assert centroid.look(clip_of("growing")[::-1]).motion == "shrinking"


def test_phase_correlation_names_directions_without_the_judge_of_the_pairs():
    pytest.importorskip("cv2")
    for motion in (*motions.DIRECTIONS, "still"):
        assert phase.direction(clip_of(motion, 1)) == motion
    x, y = phase.displacement(clip_of("rightwards", 1))
    assert 15 < x < 26 and abs(y) < 2


def test_things_move_by_parts_of_a_pixel_at_one_speed_and_stay_inside():
    rng = np.random.default_rng(5)
    for motion in motions.MOTIONS:
        for _ in range(20):
            places = render.course(motion, render.take(rng))
            assert np.allclose(np.diff(places, n=2, axis=0), 0, atol=1e-9)
            half = render.SIZE / 2 * places[:, 2:]
            assert (places[:, :2] - half >= -0.01).all() and (places[:, :2] + half <= 64.01).all()
    seen = [centroid._object(frame)[0] for frame in clip_of("rightwards", 2).astype(np.float32)]
    assert np.diff(seen).std() < 0.3 < np.diff(seen).mean()


def test_two_clips_of_one_take_differ_in_nothing_but_their_motion():
    frames = {motion: clip_of(motion, 7) for motion in motions.MOTIONS}
    (ground,) = {tuple(clip[0, 0, 0]) for clip in frames.values()}
    assert all((clip[:, 0, 0] == ground).all() for clip in frames.values())
    assert np.array_equal(
        frames["leftwards"][:, :, :].sum((0, 2)).argmin(0), frames["rightwards"].sum((0, 2)).argmin(0)
    )
    assert (frames["still"] == frames["still"][:1]).all()


def test_rejected_motions_are_others_and_half_of_them_the_opposite():
    rng = np.random.default_rng(8)
    pairs = [(motion, motions.another(motion, rng)) for motion in motions.MOTIONS * 200]
    assert all(a != b for a, b in pairs)
    assert 0.45 < np.mean([motions.OPPOSITES.get(a) == b for a, b in pairs]) < 0.55
    assert {b for a, b in pairs if a == "still"} == set(motions.MOTIONS) - {"still"}


def test_exact_pairs_show_the_stated_motion_and_another_one():
    pairs = list(motion_pairs.exact_pairs(12, ART, seed=4))
    assert len({row["prompt"] for row, *_ in pairs}) == 12
    for row, chosen, rejected in pairs:
        shot = motions.parse(row["prompt"])
        assert not motions.held_out(shot.scene.subject, shot.motion)
        if scenes.BACKGROUNDS[shot.scene.background] != scenes.BACKGROUNDS["black"]:
            assert centroid.look(chosen).motion == shot.motion
            assert centroid.look(rejected).motion == row["rejected_motion"]


def test_drawn_pairs_take_the_best_right_clips_against_the_worst_wrong_ones_if_they_lie_apart():
    left, right, still = (clip_of(motion, 1) for motion in ("leftwards", "rightwards", "still"))
    pairs = motion_pairs.choose("leftwards", np.stack([still, left, right, left]))
    assert [pair[:2] for pair in pairs] == [(3, 2), (1, 0)]
    assert all(high - low >= motion_pairs.GAP for *_, high, low in pairs)
    assert motion_pairs.choose("leftwards", np.stack([still, right])) == []  # none is right
    assert motion_pairs.choose("leftwards", np.stack([left, left])) == []  # none is wrong
    assert motion_pairs.choose("leftwards", np.stack([left, right]), gap=9) == []


def test_prompts_come_with_every_motion_equally_often():
    shots = motion_pairs.fresh_shots(24, 3, holdout=True)
    assert [shot.motion for shot in shots] == [*motions.MOTIONS] * 4
    assert len({shot.prompt for shot in shots}) == 24
    assert all(motions.held_out(shot.scene.subject, shot.motion) for shot in shots)


def test_a_steps_data_depend_on_its_number_alone():
    latents = np.random.default_rng(0).standard_normal((9, 8, motions.FRAMES, 16, 16)).astype(np.float16)
    shots = some_shots(9)
    first = train_motion.batch_of(4, latents, shots, 3)
    noise = torch.randn(2)
    train_motion.batch_of(5, latents, shots, 3)
    again = train_motion.batch_of(4, latents, shots, 3)
    assert torch.equal(first[0], again[0]) and first[1] == again[1]
    assert torch.equal(noise, torch.randn(2))


def test_the_target_undoes_the_noise_and_inputs_of_pure_noise_hold_no_clip():
    torch.manual_seed(0)
    alphas = torch.linspace(0.9, 0.01, 1000)
    clean = torch.full((400, 4, 2, 4, 4), 3.0)
    noisy, t, target = train_motion.add_noise(clean, alphas)
    a = alphas[t].view(-1, 1, 1, 1, 1)
    assert torch.allclose((noisy - (1 - a).sqrt() * target) / a.sqrt(), clean, atol=1e-4)
    pure = t == 999
    assert 0.28 < pure.float().mean() < 0.42
    assert noisy[pure].mean().abs() < 0.05


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The video model before its training: image U-Net, text encoder and tokenizer with words for motions."""
    folder = tmp_path_factory.mktemp("motion") / "tokenizer"
    words.write_tokenizer(ASSETS / "model" / "tokenizer", folder)
    return train_motion.build(ASSETS / "model", folder)


@needs_assets
def test_each_motion_is_one_token_after_all_others_and_image_prompts_are_split_as_before(built):
    *_, tokenizer = built
    before = word_tokenizer.load(ASSETS / "model" / "tokenizer")
    assert min(words.new_ids(tokenizer)) >= len(before)
    for word in motions.MOTIONS:
        assert len(tokenizer(word).input_ids) == 3
    for scene in some_scenes(300):
        assert tokenizer(scene.prompt).input_ids == before(scene.prompt).input_ids
    longest = max(len(tokenizer(shot.prompt).input_ids) for shot in some_shots(300))
    assert longest <= 14


@needs_assets
def test_image_prompts_keep_their_states_bit_for_bit(built):
    from transformers import CLIPTextModel

    _, text, tokenizer = built
    before = CLIPTextModel.from_pretrained(ASSETS / "model" / "text_encoder", torch_dtype=torch.float32)
    prompts = [scene.prompt for scene in some_scenes(16)]
    options = {"padding": "max_length", "max_length": word_tokenizer.LENGTH, "return_tensors": "pt"}
    ids = tokenizer(prompts, **options).input_ids
    assert torch.equal(before(ids).last_hidden_state, text(ids).last_hidden_state)


@needs_assets
def test_training_begins_as_the_image_model_and_moves_words_and_temporal_layers_only(built):
    from diffusers import UNet2DConditionModel

    unet, text, tokenizer = built
    rows = torch.nn.Parameter(text.get_input_embeddings().weight[words.new_ids(tokenizer)].detach().clone())
    captions = train_motion.Captions(text, tokenizer, rows)
    states = captions.states([motions.Shot(scenes.Scene("owl", 1, "flat", "red"), "upwards").prompt])
    torch.manual_seed(0)
    x, t = torch.randn(1, 4, 3, 16, 16), torch.tensor([800])
    out = unet(x, t, states.repeat_interleave(3, 0)).sample
    image = UNet2DConditionModel.from_pretrained(ASSETS / "model" / "unet", torch_dtype=torch.float32)
    frames = image(x[0].transpose(0, 1), t, states.expand(3, -1, -1)).sample
    assert torch.allclose(out[0].transpose(0, 1), frames, atol=1e-4)
    out.square().mean().backward()
    moved = {name for name, p in unet.named_parameters() if p.grad is not None}
    assert moved and all(".motion_modules." in name for name in moved)
    assert [bool(row.abs().sum()) for row in rows.grad] == [word == "upwards" for word in motions.MOTIONS]
    assert not any(p.requires_grad for p in text.parameters())
