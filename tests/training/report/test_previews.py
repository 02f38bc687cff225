"""Previews of clips: written as clips while training, complete or not, and scored step by step afterwards."""

import pytest

from diffalign.data.media.clips.open_clip import open_clip
from diffalign.evaluation.compare.preview_curve import read_preview_curve
from diffalign.training.recipe.schema import Previews
from diffalign.training.report.previews import has_previews, save_previews
from tests.evaluation.fakes import Motion, MovingPolicy

CONFIG = Previews(prompts=["a fox", "an owl"], seeds=[0, 5], every=10)


def test_previews_of_clips_are_files_of_clips(tmp_path):
    paths = save_previews(MovingPolicy(fps=12.0), CONFIG, tmp_path, 10)
    names = ["00-seed-0.webp", "00-seed-5.webp", "01-seed-0.webp", "01-seed-5.webp"]
    assert [path.name for path in paths] == names and paths[0].parent.name == "step-00000010"
    assert open_clip(paths[3]) == MovingPolicy(fps=12.0).sample(["an owl"], [5])[0]
    assert has_previews(CONFIG, tmp_path, 10) and not has_previews(CONFIG, tmp_path, 20)
    paths[0].unlink()
    assert not has_previews(CONFIG, tmp_path, 10)


def test_previews_of_clips_are_scored_step_by_step(tmp_path):
    for step, shift in ((0, 0), (10, 1), (20, 2)):
        save_previews(MovingPolicy(shift), CONFIG, tmp_path / "previews", step)
    judges = {"motion": (Motion(), "held-out")}
    curve = read_preview_curve(tmp_path, CONFIG.prompts, CONFIG.seeds, judges, "video")
    assert curve.steps == (0, 10, 20)
    means = [curve.mean("motion", step) for step in range(3)]
    assert means[0] == 0 and means[2] == pytest.approx(2 * means[1]) and means[1] > 0
