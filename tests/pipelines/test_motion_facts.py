"""The judges of motions as scorers, on clips whose motion is known, and the embedded files that they judge."""

import json

import numpy as np
import pytest
import torch

from diffalign.data.media.clips.clip import Clip
from diffalign.data.media.clips.open_clip import open_clip
from diffalign.data.media.clips.write_clip import write_clip
from diffalign.errors import DataError, UserError
from diffalign.plugins import load_plugins
from diffalign.policies.diffusion.load import VideoModelConfig, load_policy
from diffalign.scorers import load_scorer
from pipelines.embedded import word_tokenizer
from pipelines.embedded_motion import centroid, clips, motion_net, motions
from tests.pipelines.test_embedded import ASSETS, some_scenes
from tests.pipelines.test_embedded_motion import clip_of

needs_motion = pytest.mark.skipif(
    not (ASSETS / "motion").exists(), reason="the embedded video model is not in this checkout"
)
PROMPT = "a noto drawing of a fox on a yellow background, "


@pytest.fixture(autouse=True)
def registered():
    """The scorer is registered here and not at import, so that batteries over the package's own scorers skip it."""
    load_plugins(["pipelines.embedded_motion.motion_facts"])


def exact_pairs() -> list[dict]:
    lines = (ASSETS / "motion_pairs" / "exact" / "metadata.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def test_the_centroid_judge_scores_by_the_way_that_a_clip_goes_and_reads_files_too(tmp_path):
    samples = [Clip(clip_of(motion, 3), motions.FPS) for motion in motions.MOTIONS]
    scorer = load_scorer("motion_facts:centroid")
    assert scorer.medium == "video"
    scores, hits = scorer.scores_and_hits([PROMPT + "leftwards"] * 6, samples)
    assert hits.tolist() == [name == "leftwards" for name in motions.MOTIONS]
    assert scores.argmax() == 0 and scores[0] > 0.7
    assert all(score < -0.7 for score in scores[1:5])
    path = write_clip(tmp_path / "clip.webp", samples[0])
    assert scorer.score([PROMPT + "leftwards"], [path]).item() == scores[0]
    assert torch.equal(scorer.score([], []), torch.zeros(0))


def test_the_direction_judge_has_no_opinion_on_growing_things():
    pytest.importorskip("cv2")
    scorer = load_scorer("motion_facts:phase")
    samples = [Clip(clip_of(motion, 3), motions.FPS) for motion in ("upwards", "downwards")]
    assert scorer.score([PROMPT + "upwards"] * 2, samples).tolist() == [1, 0]
    with pytest.raises(DataError, match="growing"):
        scorer.check_prompts([PROMPT + "growing"])


def test_other_prompts_and_judges_are_refused_in_a_sentence():
    for prompt in ("a fox runs", "a noto drawing of a fox on a yellow background"):
        with pytest.raises(DataError, match="embedded video model"):
            load_scorer("motion_facts:centroid").check_prompts([prompt])
    with pytest.raises(UserError, match="motion_facts:assets/emoji/scorers/motion"):
        load_scorer("motion_facts:speed")


def test_the_held_out_network_is_written_and_read_back(tmp_path):
    torch.manual_seed(0)
    net = motion_net.MotionNet(widths=(4, 8), names=("still", "growing")).eval()
    net.save_pretrained(tmp_path)
    read = motion_net.MotionNet.from_pretrained(tmp_path)
    frames = np.stack([clip_of("still"), clip_of("growing")])
    assert read.names == ("still", "growing")
    assert torch.equal(motion_net.probabilities(net, frames), motion_net.probabilities(read, frames))


@needs_motion
def test_exact_pairs_show_what_they_state_by_the_judge_and_differ_in_the_motion():
    rows = exact_pairs()
    assert len(rows) >= 200
    for row in rows[:60]:
        shot = motions.parse(row["prompt"])
        assert not motions.held_out(shot.scene.subject, shot.motion)
        chosen, rejected = (open_clip(ASSETS / "motion_pairs" / "exact" / row[f"{role}_file_name"])
                            for role in ("chosen", "rejected"))  # fmt: skip
        assert len(chosen) == len(rejected) == motions.FRAMES and chosen.fps == motions.FPS
        assert centroid.look(chosen.frames).motion == shot.motion
        assert centroid.look(rejected.frames).motion == row["rejected_motion"]


@needs_motion
def test_the_held_out_network_names_the_motion_of_clips_through_the_autoencoder():
    from diffusers import AutoencoderKL

    vae = AutoencoderKL.from_pretrained(ASSETS / "model" / "vae", torch_dtype=torch.float32)
    rows = exact_pairs()[:60]
    frames = np.stack([open_clip(ASSETS / "motion_pairs" / "exact" / row["chosen_file_name"]).frames for row in rows])
    through = clips.decode(vae, torch.from_numpy(clips.encode(vae, frames)).float()[:, :4])
    samples = [Clip(clip, motions.FPS) for clip in through]
    scorer = load_scorer(f"motion_facts:{ASSETS / 'scorers' / 'motion'}")
    assert len(scorer.weights) == 16
    _, hits = scorer.scores_and_hits([row["prompt"] for row in rows], samples)
    assert hits.float().mean() >= 0.95
    assert (
        load_scorer("motion_facts:centroid").scores_and_hits([row["prompt"] for row in rows], samples)[1].float().mean()
        >= 0.95
    )


@needs_motion
def test_drawn_pairs_hold_a_right_clip_and_a_wrong_one():
    folder = ASSETS / "motion_pairs" / "drawn"
    rows = [json.loads(line) for line in (folder / "metadata.jsonl").read_text().splitlines()]
    assert len(rows) >= 20
    for row in rows:
        motion = motions.parse(row["prompt"]).motion
        chosen, rejected = (centroid.look(open_clip(folder / row[f"{role}_file_name"]).frames)
                            for role in ("chosen", "rejected"))  # fmt: skip
        assert chosen.motion == motion != rejected.motion
        assert row["chosen_score"] - row["rejected_score"] >= 0.5


@needs_motion
def test_the_embedded_video_model_loads_by_path_and_motion_and_draws_clips():
    from pipelines.embedded_motion import sampling

    pipe = sampling.load_pipeline(ASSETS / "model", ASSETS / "motion")
    drawn = sampling.sample(pipe, [PROMPT + "growing"], [1], guidance=1.0, steps=2)
    assert drawn.shape == (1, motions.FRAMES, 64, 64, 3)
    assert drawn.std() > 5


@needs_motion
def test_the_shipped_words_leave_the_image_models_text_encoder_and_tokenizer_as_they_are():
    from safetensors.torch import load_file

    image, video = (load_file(ASSETS / folder / "text_encoder" / "model.safetensors") for folder in ("model", "motion"))
    assert image.keys() == video.keys()
    for name, before in image.items():
        assert torch.equal(before, video[name][: len(before)])
    tokenizers = [word_tokenizer.load(ASSETS / folder / "tokenizer") for folder in ("model", "motion")]
    for scene in some_scenes(100):
        assert tokenizers[0](scene.prompt).input_ids == tokenizers[1](scene.prompt).input_ids


@needs_motion
def test_a_recipes_model_section_loads_it_with_its_own_words_and_noise_levels():
    policy = load_policy(
        VideoModelConfig(
            path=str(ASSETS / "model"),
            motion=str(ASSETS / "motion"),
            clip={"frames": motions.FRAMES, "fps": motions.FPS},
            adapter={"rank": 2, "targets": "motion"},
        ),
        "cpu",
    )
    assert policy.medium == "video"
    (clip,) = policy.sample([PROMPT + "growing"], seeds=[1], steps=2, guidance=1.0)
    assert clip.frames.shape == (motions.FRAMES, 64, 64, 3)


@needs_motion
def test_the_prompts_for_measurements_are_held_out():
    prompts = (ASSETS / "prompts" / "motion.txt").read_text().splitlines()
    shots = [motions.parse(prompt) for prompt in prompts]
    assert len(set(prompts)) == len(prompts) == 240
    assert all(motions.held_out(shot.scene.subject, shot.motion) for shot in shots)
