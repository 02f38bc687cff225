"""Claims about the first candidates of a run: a fault of theirs is said before a model is opened."""

import pytest

from diffalign.data.media.clips.frame_rule import FrameRule
from diffalign.data.media.clips.write_clip import write_clip
from diffalign.data.records.pair import Pair
from diffalign.errors import DataError
from diffalign.training.recipe.load import make_recipe
from diffalign.training.setup.bind_recipe import bind_recipe
from diffalign.training.setup.open_first_candidates import OPENED, open_first_candidates
from tests.data.clips import noise, write_video
from tests.data.fixtures import image, jsonl

DROP = "type: --set data.options.bad_images=drop"


def _clips(folder, *frames, fps=8.0):
    """The path of a clip per number of frames."""
    paths = [folder / f"{n}-{length}.webp" for n, length in enumerate(frames)]
    return [
        write_clip(path, noise(length, seed=n, fps=fps))
        for n, (path, length) in enumerate(zip(paths, frames, strict=True))
    ]


def _recipe(folder, rows, **model):
    jsonl(folder / "metadata.jsonl", rows)
    return make_recipe(
        {
            "model": {"path": "nowhere", **model},
            "data": {"train": str(folder)},
            "loss": {"name": "logistic", "beta": 2000.0},
            "train": {"steps": 1, "learning_rate": 1e-4},
            "output": str(folder / "run"),
        }
    )


def _row(chosen, rejected):
    return {"prompt": "p", "chosen_file_name": chosen.name, "rejected_file_name": rejected.name}


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        ("cut", r"metadata\.jsonl:2: '.*b\.mkv' cannot be decoded: it was cut off"),
        ("short", r"metadata\.jsonl:2: '.*3-5\.webp' is too short: 5 frames in 0\.62 seconds give 5 of 8"),
        ("bomb", r"metadata\.jsonl:2: '.*bomb\.webp' is refused: Image size"),
    ],
)
def test_a_clip_that_cannot_be_trained_on_is_named_with_its_pair_and_its_reason(tmp_path, fault, says):
    good, other, third, short = _clips(tmp_path, 8, 8, 9, 5)
    whole = write_video(tmp_path / "a.mkv", noise(40, 64, 64, fps=10.0)).read_bytes()
    (tmp_path / "b.mkv").write_bytes(whole[: len(whole) * 3 // 4])
    sound = good.read_bytes()
    at = sound.index(b"VP8X") + 12
    (tmp_path / "bomb.webp").write_bytes(sound[:at] + (16_382).to_bytes(3, "little") * 2 + sound[at + 6 :])
    bad = {"cut": tmp_path / "b.mkv", "short": short, "bomb": tmp_path / "bomb.webp"}[fault]
    recipe = _recipe(tmp_path, [_row(good, other), _row(third, bad)], kind="video", clip={"frames": 8})
    with pytest.raises(DataError, match=f"{says}.*{DROP}"):
        bind_recipe(recipe, None)


def test_an_image_that_cannot_be_decoded_is_named_too(tmp_path):
    (tmp_path / "a.png").write_bytes(image(size=(64, 64)))
    (tmp_path / "b.png").write_bytes(image(1, size=(64, 64))[:-200])
    recipe = _recipe(tmp_path, [_row(tmp_path / "a.png", tmp_path / "b.png")], kind="image")
    with pytest.raises(DataError, match=rf"metadata\.jsonl:1: '.*b\.png' cannot be decoded.*{DROP}"):
        bind_recipe(recipe, None)


def test_clips_of_different_lengths_are_warned_of_where_the_rule_shows_them_at_different_speeds(tmp_path):
    one, twice = _clips(tmp_path, 8, 16)
    recipe = _recipe(tmp_path, [_row(one, twice)], kind="video", clip={"frames": 8, "rule": "span"})
    (warning,) = bind_recipe(recipe, None).warnings
    assert "metadata.jsonl:1 (8 and 4 frames per second)" in warning and "--set model.clip.rule=rate" in warning
    pairs = [Pair("1", "p", one, twice)]
    assert open_first_candidates(pairs, FrameRule("rate", frames=8)) == []
    assert open_first_candidates([Pair("1", "p", one, one)], FrameRule("span", frames=8)) == []


def test_only_the_first_pairs_are_opened_and_texts_are_not(tmp_path):
    good, missing = _clips(tmp_path, 8)[0], tmp_path / "missing.mp4"
    pairs = [Pair(str(n), "p", good, good if n < OPENED else missing) for n in range(OPENED + 1)]
    assert open_first_candidates(pairs, FrameRule(frames=8)) == []
    with pytest.raises(DataError, match=f"{OPENED}: there is no file .*missing"):
        open_first_candidates(pairs[1:], FrameRule(frames=8))
    assert open_first_candidates([Pair("1", "p", "a text", "another")], None) == []
