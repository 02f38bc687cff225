"""A whole job on a tiny video model, and commands on its result: clips in previews, samples, page, sheet and card."""

import json

import pytest
import yaml
from PIL import Image
from typer.testing import CliRunner

from diffalign.cli.app import app
from diffalign.data.media.clips.open_clip import open_clip
from diffalign.data.readers import read_pairs
from diffalign.data.storage.kept_latents import latent_names
from diffalign.training.align import align
from diffalign.training.recipe.load import make_recipe
from tests.evaluation.report.test_clip_report import Pictures
from tests.evaluation.samples.test_clips import animation
from tests.tiny_video import FRAMES, tiny_clip_pairs, tiny_motion

HELD, TRAINED_ON = "frames:background:red", "frames:background:blue"


def model_options(sd, motion):
    settings = {"motion": motion, "clip.frames": FRAMES}
    return ["--model", str(sd), *(part for k, v in settings.items() for part in ("--model-setting", f"{k}={v}"))]


def typed(*words):
    result = CliRunner().invoke(app, [str(word) for word in words], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


@pytest.fixture(scope="module")
def job(sd, tmp_path_factory):
    """Returns the folder of a run, with its model beside it."""
    folder = tmp_path_factory.mktemp("job")
    for name in ("train", "held"):
        pairs = tiny_clip_pairs(folder / name, seed=len(name))
        rows = [
            {"prompt": p.prompt, "chosen_file_name": p.chosen.name, "rejected_file_name": p.rejected.name}
            for p in pairs
        ]
        (folder / name / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    motion = tiny_motion(folder / "motion")
    model = {"path": str(sd), "motion": str(motion), "cache": str(folder / "cache"), "adapter": {"rank": 2}}
    recipe = make_recipe(
        {
            "model": {**model, "clip": {"frames": FRAMES}},
            "data": {"train": str(folder / "train"), "eval": str(folder / "held")},
            "loss": {"name": "logistic", "beta": 500.0},
            "train": {"steps": 2, "batch_size": 2, "learning_rate": 1e-2, "mixed_precision": "no"},
            "log": {"every": 1},
            "previews": {"prompts": ["a fox"], "every": 2, "seeds": [0, 1], "steps": 2},
            "evaluate": {
                "prompts": ["a fox", "two red apples"],
                "scorers": [HELD],
                "trained_on": [TRAINED_ON],
                "seeds_per_prompt": 2,
                "steps": 2,
            },
            "output": str(folder / "run"),
        }
    )
    return folder, align(recipe), model_options(sd, motion)


def test_a_run_on_clips_writes_previews_samples_page_sheet_and_card_of_clips(job):
    folder, done, _ = job
    previews = sorted((folder / "run" / "previews" / "step-00000002").iterdir())
    assert [path.name for path in previews] == ["00-seed-0.webp", "00-seed-1.webp"]
    assert len(open_clip(previews[0])) == FRAMES
    drifts = [json.loads(line)["value"] for line in (folder / "run" / "drift.jsonl").read_text().splitlines()]
    assert drifts[0] == pytest.approx(0, abs=1e-9) and len(drifts) == 2 and drifts[1] > 0
    assert done.comparison.medium == "video" and done.comparison.sampled.drift.value > 0
    page = Pictures(done.report.read_text())
    assert len(page.moving()) == 4
    frames, _ = animation(page.moving()[0]["src"])
    assert len(frames) == FRAMES and frames[0].width == 2 * open_clip(previews[0]).size[0]
    assert Image.open(folder / "run" / "before_after.png").width > 100
    card = next((folder / "run").rglob("README.md"))
    front = yaml.safe_load(card.read_text().split("---\n")[1])
    urls = [entry["output"]["url"] for entry in front["widget"]]
    assert front["pipeline_tag"] == "text-to-video" and len(urls) == 2
    assert all(len(open_clip(card.parent / url)) == FRAMES for url in urls)


def test_commands_treat_clips_as_they_treat_images(job, tmp_path):
    folder, done, model = job
    drawn = ["--prompt", "a fox", "--steps", 2]
    said = typed("generate", *model, *drawn, "--seeds", 2, "--output", tmp_path / "made")
    assert "2 clips in" in said and said.replace("\n", "").count("-s0.webp") == 1
    row = json.loads((tmp_path / "made" / "metadata.jsonl").read_text().splitlines()[0])
    assert (row["frames"], row["fps"], row["seed"]) == (FRAMES, 8.0, 0)
    assert "2 clips" in typed("score", tmp_path / "made", "--scorer", HELD)
    pairs = typed(
        "data", "make", *model, *drawn, "--scorer", HELD, "--answers", 3, "--output", tmp_path / "pairs", "--latents"
    )
    assert "1 pairs in" in pairs
    pair = read_pairs(tmp_path / "pairs" / "pairs.jsonl").pairs[0]
    assert len(open_clip(pair.chosen)) == len(open_clip(pair.rejected)) == FRAMES
    assert len(latent_names(tmp_path / "pairs" / "latents.safetensors")) == 3
    assert "video" in typed("data", "check", tmp_path / "pairs" / "pairs.jsonl")
    report = typed(
        "compare",
        *model,
        *drawn,
        "--adapter",
        done.result.artifact,
        "--scorer",
        HELD,
        "--output",
        tmp_path / "compared",
    )
    assert "report:" in report and "warning" not in report
    assert len(Pictures((tmp_path / "compared" / "report.html").read_text()).moving()) == 1
