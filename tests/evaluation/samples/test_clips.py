"""Clips through generate, galleries, scores, diversity and comparison, as images go; frames for pages."""

import base64
import io
import json
import re

import numpy as np
import pytest
from PIL import Image, ImageSequence

from diffalign.data.media.clips.clip import Clip
from diffalign.data.media.clips.open_clip import open_clip
from diffalign.data.media.clips.write_clip import write_clip
from diffalign.data.records.pair import Pair, PairSet
from diffalign.errors import DataError, UserError
from diffalign.evaluation.compare.result import Comparison
from diffalign.evaluation.compare.run import compare, compare_galleries
from diffalign.evaluation.samples.clip_frames import (
    evenly_spaced,
    fitted,
    rows_of_frames,
    side_by_side,
    with_fewer_frames,
)
from diffalign.evaluation.samples.clip_webp import clip_uri, webp_uri
from diffalign.evaluation.samples.diversity import CLIP_PIXELS, PIXELS, compare_diversity
from diffalign.evaluation.samples.gallery import read_gallery
from diffalign.evaluation.samples.generate import generate
from diffalign.evaluation.samples.medium import MEDIA, medium_of_candidate, medium_of_file
from diffalign.evaluation.scoring.score_pairs import score_pairs
from diffalign.evaluation.scoring.score_samples import score_folder
from diffalign.scorers import SCORERS, register_scorer
from diffalign.scorers.scorer import ScorerEntry
from tests.data.clips import write_video
from tests.evaluation.fakes import Motion, MovingPolicy, PlainPolicy

PROMPTS, SEEDS = ["a fox", "a red apple"], [3, 7]


def numbered(count, fps=8.0, size=(4, 6)):
    """Frame k has the grey 10 k."""
    return Clip(np.stack([np.full((*size, 3), 10 * k, np.uint8) for k in range(count)]), fps)


def greys(clip):
    return clip.frames[:, 0, 0, 0].tolist()


def animation(uri):
    """Returns the pictures of a data address and their durations in ms."""
    image = Image.open(io.BytesIO(base64.b64decode(re.fullmatch(r"data:image/webp;base64,(.+)", uri)[1])))
    frames = [(frame.convert("RGB"), frame.info.get("duration", 0)) for frame in ImageSequence.Iterator(image)]
    return [frame for frame, _ in frames], [duration for _, duration in frames]


@pytest.fixture
def motion_scorer():
    register_scorer("test_motion", ScorerEntry(lambda argument, device: Motion(), "nothing", "motion", medium="video"))
    yield "test_motion"
    del SCORERS["test_motion"]


def test_clips_are_written_with_their_frames_and_rate_and_read_back_exactly(tmp_path):
    policy, ticks = MovingPolicy(fps=12.5), []
    gallery = generate(policy, PROMPTS, SEEDS, tmp_path, progress=lambda *tick: ticks.append(tick))
    assert gallery.medium == "video" and ticks == [("clips", 4, 4)]
    assert [sample.path.suffix for sample in gallery.samples] == [".webp"] * 4
    rows = [json.loads(line) for line in (tmp_path / "metadata.jsonl").read_text().splitlines()]
    name = gallery.samples[1].path.name
    assert rows[1] == {"file_name": name, "prompt": "a fox", "seed": 7, "frames": 8, "fps": 12.5}
    assert open_clip(gallery.samples[1].path) == policy.sample(["a fox"], [7])[0]
    assert read_gallery(tmp_path) == gallery
    again = MovingPolicy(fps=12.5)
    assert generate(again, PROMPTS, SEEDS, tmp_path) == gallery and not again.drawn


def test_frames_and_rate_of_a_written_clip_are_read_without_decoding_it(tmp_path, monkeypatch):
    path = write_clip(tmp_path / "a.webp", Clip(np.repeat(MovingPolicy().clip(3, 0).frames, 2, axis=0), 12.0))
    video = write_video(tmp_path / "b.mkv", Clip(MovingPolicy().clip(3, 2).frames, 10.0))
    facts = [MEDIA["video"].columns(file) for file in (path, video)]
    assert facts == [{"frames": 16, "fps": 12.0}, {"frames": 8, "fps": 10.0}]
    monkeypatch.setattr("diffalign.evaluation.samples.medium.as_clip", None)
    assert MEDIA["video"].columns(path) == facts[0]


def test_a_still_clip_keeps_its_frames_and_its_gallery_is_one_of_clips(tmp_path):
    gallery = generate(MovingPolicy(), PROMPTS, SEEDS, tmp_path, reference=True)
    assert Image.open(gallery.samples[0].path).n_frames == 1 and len(open_clip(gallery.samples[0].path)) == 8
    assert read_gallery(tmp_path) == gallery and gallery.medium == "video"


def test_a_file_is_a_clip_by_what_it_holds(tmp_path):
    frames = [Image.new("RGB", (8, 8), (40 * k, 0, 0)) for k in range(3)]
    for name, more in (("still.webp", []), ("moving.webp", frames[1:]), ("still.gif", []), ("moving.gif", frames[1:])):
        frames[0].save(tmp_path / name, **({"save_all": True, "append_images": more} if more else {}))
    (tmp_path / "a.mp4").write_bytes(b"anything")
    (tmp_path / "broken.webp").write_bytes(b"RIFF0000WEBPbroken")
    (tmp_path / "a.txt").write_text("a text")
    names = ["still.webp", "moving.webp", "still.gif", "moving.gif", "a.mp4", "broken.webp", "a.txt"]
    found = [medium_of_file(tmp_path / name).name for name in names]
    assert found == ["image", "video", "image", "video", "video", "image", "text"]
    assert medium_of_candidate((tmp_path / "moving.webp").read_bytes()).name == "video"
    assert medium_of_candidate("a.mp4").name == "text"


def test_a_policy_of_clips_may_not_return_images_or_lists_of_them(tmp_path):
    policy = PlainPolicy()
    policy.medium = "video"
    with pytest.raises(UserError, match="Expected 1 clips .* of type Image"):
        generate(policy, ["x"], [0], tmp_path / "a")
    assert not MEDIA["video"].fits([Image.new("RGB", (8, 8))] * 2)


def test_a_folder_of_clips_is_scored_by_judges_of_clips_only(tmp_path, motion_scorer):
    generate(MovingPolicy(), PROMPTS, SEEDS, tmp_path)
    assert "4 clips" in score_folder(tmp_path, [motion_scorer])[0]
    assert MEDIA["video"].count(1) == "1 clip" and MEDIA["image"].count(0) == "0 images"
    row = json.loads((tmp_path / "metadata.jsonl").read_text().splitlines()[0])
    assert row["scores"][motion_scorer] > 0 and row["frames"] == 8
    with pytest.raises(UserError, match=r"'background' judges images, but .* holds clips. Scorers of clips: .*motion"):
        score_folder(tmp_path, ["background"])


def test_pairs_of_clips_are_scored_by_judges_of_clips_only(tmp_path, motion_scorer):
    moving, still = (write_clip(tmp_path / f"{s}.webp", MovingPolicy().clip(3, s)) for s in (2, 0))
    Image.new("RGB", (8, 8)).save(tmp_path / "x.png")
    pairs = PairSet([Pair("a", "a fox", moving, still.read_bytes())])
    table = score_pairs(pairs, motion_scorer, tmp_path / "scores.jsonl")
    assert table.rows["a"][0] > table.rows["a"][1] == 0
    with pytest.raises(DataError, match="the candidates are clips, and the scorer 'background:red' judges images"):
        score_pairs(pairs, "background:red", tmp_path / "b.jsonl")
    with pytest.raises(DataError, match="the candidates are images, and the scorer 'test_motion' judges clips"):
        score_pairs(PairSet([Pair("a", "a fox", moving, tmp_path / "x.png")]), motion_scorer, tmp_path / "c.jsonl")


def test_a_livelier_model_wins_on_motion_and_the_comparison_is_read_back(tmp_path):
    scorers = {"held": (Motion(), "held-out"), "against": (Motion(-1), "trained-on")}
    result = compare(MovingPolicy(), PROMPTS, SEEDS, scorers, folder=tmp_path)
    assert [j.win.rate for j in result.judgements] == [1, 0] and result.medium == "video"
    assert result.diversity.space == "pixels of 8 frames" and result.diversity.base > 0
    assert Comparison.load(tmp_path / "comparison.json").judgements == result.judgements
    again = compare_galleries(tmp_path / "base", tmp_path / "aligned", scorers)
    assert again.judgements == result.judgements
    with pytest.raises(DataError, match="holds images and .* clips"):
        generate(PlainPolicy(), PROMPTS, SEEDS, tmp_path / "images")
        compare_galleries(tmp_path / "images", tmp_path / "aligned", scorers)


def test_diversity_of_clips_sees_every_frame_and_of_still_clips_is_that_of_images():
    left, right = (Clip(numbered(8).frames[::step], 8.0) for step in (1, -1))
    first = left.frames[:1].repeat(8, axis=0)
    backwards = Clip(np.concatenate([left.frames[:1], right.frames[1:]]), 8.0)
    apart = compare_diversity([left, backwards], [left, left], ["a", "a"], CLIP_PIXELS)
    assert apart.base > 0.1 and apart.aligned == 0, "clips with one first frame that go on differently differ"
    still, other = Clip(first, 8.0), Clip(first + 90, 8.0)
    images = [Image.fromarray(clip.frames[0]) for clip in (still, other)]
    expected = compare_diversity(images, images, ["a", "a"], PIXELS).base
    assert compare_diversity([still, other], [still, still], ["a", "a"], CLIP_PIXELS).base == pytest.approx(expected)
    assert CLIP_PIXELS.features([numbered(3), numbered(20)]).shape == (2, 8 * 3072)


def test_frames_are_picked_at_the_centres_of_equal_parts_and_time_is_kept():
    assert evenly_spaced(48, 16) == list(range(1, 48, 3)) and evenly_spaced(3, 8) == [0, 0, 0, 1, 1, 2, 2, 2]
    fewer = with_fewer_frames(numbered(16, 8.0), 8)
    assert greys(fewer) == [10 * k for k in range(1, 16, 2)] and fewer.seconds == 2.0
    assert with_fewer_frames(fewer, 8) is fewer


def test_clips_in_one_picture_play_in_step_at_any_rates_and_lengths():
    both = side_by_side([numbered(4, 8.0), numbered(4, 4.0)])
    assert both.fps == 8 and len(both) == 8 and both.size == (12, 4)
    assert both.frames[:, 0, 0, 0].tolist() == [0, 10, 20, 30, 30, 30, 30, 30]
    assert both.frames[:, 0, 6, 0].tolist() == [0, 0, 10, 10, 20, 20, 30, 30]
    sizes = side_by_side([numbered(2), numbered(2, size=(8, 2))])
    assert sizes.size == (12, 8) and (sizes.frames[:, 0, 0] == 255).all() and (sizes.frames[0, 2, 0] == 0).all()


def test_large_clips_shrink_and_small_ones_stay_as_they_are():
    assert fitted(numbered(2, size=(100, 50)), 20).size == (10, 20)
    small = numbered(2)
    assert fitted(small, 20) is small


def test_a_contact_sheet_has_every_frame_in_its_order():
    sheet = np.asarray(rows_of_frames([numbered(8), numbered(4)]))
    assert sheet.shape == (4 + 6 + 4, 8 * 8 - 2, 3)
    assert sheet[0, ::8, 0].tolist() == [10 * k for k in range(8)]
    assert sheet[10, ::8, 0].tolist() == [0, 10, 20, 30, 255, 255, 255, 255]
    assert rows_of_frames([numbered(20)]).height == 3 * 4 + 2 * 2
    assert rows_of_frames([numbered(25)]).height == 3 * 4 + 2 * 2, "of a longer clip frames are picked"


def test_an_animation_lasts_as_long_as_its_clip():
    frames, durations = animation(clip_uri(numbered(25, 24.0), exact=True))
    assert [np.asarray(frame)[0, 0, 0] for frame in frames] == greys(numbered(25))
    assert sum(durations) == round(1000 * 25 / 24) and set(durations) <= {41, 42}
    still, _ = animation(clip_uri(Clip(np.full((8, 4, 4, 3), 9, np.uint8), 8.0), exact=True))
    assert len(still) == 1


def test_drawings_are_stored_without_loss_and_photographs_with():
    drawing = MovingPolicy(size=256).sample(["x"], [0])[0]
    frames, _ = animation(clip_uri(drawing, exact=False))
    assert (np.asarray(frames[3]) == drawing.frames[3]).all()
    noise = Clip(np.random.default_rng(0).integers(0, 256, (3, 64, 64, 3), dtype=np.uint8), 8.0)
    lossy, exact = clip_uri(noise, exact=False), clip_uri(noise, exact=True)
    assert len(lossy) < 0.6 * len(exact)
    assert (np.asarray(animation(exact)[0][2]) == noise.frames[2]).all()
    assert webp_uri([Image.fromarray(noise.frames[0])], exact=False).startswith("data:image/webp;base64,")
