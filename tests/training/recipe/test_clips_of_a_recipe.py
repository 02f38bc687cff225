"""Claims about a recipe of a video model: clips that are too short for its frames are counted before it starts."""

import pytest

from diffalign.data.media.clips.write_clip import write_clip
from diffalign.errors import ConfigError, DataError
from diffalign.training.recipe.load import make_recipe
from diffalign.training.setup.bind_recipe import bind_recipe
from tests.data.clips import noise
from tests.data.fixtures import jsonl, pair_folder


def _recipe(tmp_path, **options):
    rows = []
    for number, frames in enumerate((8, 8, 5)):
        names = {}
        for seed, role in enumerate(("chosen", "rejected")):
            names[f"{role}_file_name"] = f"{role}-{number}.webp"
            write_clip(tmp_path / f"{role}-{number}.webp", noise(frames, seed=2 * number + seed))
        rows.append({"prompt": f"thing {number}", **names})
    jsonl(tmp_path / "metadata.jsonl", rows)
    return {
        "model": {"kind": "video", "path": "model", "clip": {"frames": 8, "fps": 8}},
        "data": {"train": str(tmp_path), "eval": str(tmp_path), "options": options},
        "loss": {"name": "logistic", "beta": 2000.0},
        "train": {"steps": 1, "learning_rate": 1e-4},
        "output": str(tmp_path / "run"),
    }


def test_pairs_with_a_clip_that_is_too_short_are_left_out_and_counted(tmp_path):
    bound = bind_recipe(make_recipe(_recipe(tmp_path, bad_images="drop")), None)
    assert len(bound.source.pairs) == 2 and len(bound.held_out.pairs) == 2


def test_a_recipe_that_holds_the_last_frame_keeps_them(tmp_path):
    recipe = _recipe(tmp_path, bad_images="drop")
    recipe["model"]["clip"]["short"] = "hold"
    assert len(bind_recipe(make_recipe(recipe), None).source.pairs) == 3


def test_images_for_a_video_model_are_named_before_it_is_opened(tmp_path):
    recipe = _recipe(tmp_path)
    recipe["data"] = {"train": str(pair_folder(tmp_path / "images"))}
    with pytest.raises(
        ConfigError, match=r"candidates are images, but this model makes videos.*--set model.kind=image"
    ):
        bind_recipe(make_recipe(recipe), None)


def test_the_rule_of_frames_is_no_option_of_the_data(tmp_path):
    recipe = _recipe(tmp_path)
    recipe["model"] = {"kind": "image", "path": "model"}
    recipe["data"]["options"] = {"frames": 8}
    with pytest.raises(DataError, match="set by model.clip"):
        bind_recipe(make_recipe(recipe), None)
