"""Claims about data of another medium than the model's: one sentence before anything is loaded."""

import pytest

from diffalign.data.media.clips.write_clip import write_clip
from diffalign.data.records.pair import Pair
from diffalign.errors import ConfigError
from diffalign.training.recipe.compatibility import check_data_medium
from diffalign.training.recipe.load import make_recipe
from diffalign.training.setup.bind_recipe import bind_recipe
from tests.data.clips import noise, write_video
from tests.data.fixtures import image


@pytest.fixture
def candidates(tmp_path):
    (tmp_path / "a.png").write_bytes(image())
    return {
        "image": [tmp_path / "a.png", image()],
        "video": [write_clip(tmp_path / "a.webp", noise()), write_video(tmp_path / "a.mp4", noise())],
        "text": ["an answer"],
    }


@pytest.mark.parametrize("medium", ["image", "video", "text"])
def test_data_of_the_models_medium_pass_and_others_are_named(candidates, medium):
    for kind, found in candidates.items():
        for candidate in found:
            pairs = [Pair("1", "p", candidate, candidate, source="set:1")]
            if kind == medium:
                check_data_medium(pairs, medium, "set")
                continue
            with pytest.raises(ConfigError, match=f"set:1: the candidates are {kind}s, but this model makes {medium}s"):
                check_data_medium(pairs, medium, "set")


def test_a_rejected_candidate_of_another_medium_is_named_too(candidates):
    pairs = [Pair("1", "p", candidates["video"][0], candidates["image"][0], source="set:1")]
    with pytest.raises(ConfigError, match="set:1: the candidates are images, but this model makes videos"):
        check_data_medium(pairs, "video", "set")


@pytest.mark.parametrize("model", [{"kind": "text"}, {"kind": "image"}])
def test_weights_of_frames_are_refused_where_the_model_makes_no_clips(tmp_path, model):
    values = {"model": {"path": "nowhere", **model}, "data": {"train": "in memory"}, "output": str(tmp_path / "run")}
    recipe = make_recipe(
        {**values, "loss": {"name": "logistic", "beta": 1.0}, "train": {"steps": 1, "learning_rate": 1e-4}}
    )
    pairs = [Pair("1", "p", "one", "two", source="set:1", frame_weights=(1.0, 0.0))]
    with pytest.raises(ConfigError, match="set:1 has frame_weights, .* but this model makes no clips"):
        bind_recipe(recipe, pairs)
