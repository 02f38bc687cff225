"""A paper's program runs from pairs to the paper's table, and resumes after an interruption."""

import json
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from diffalign.errors import ConfigError
from diffalign.evaluation.compare.result import Comparison
from diffalign.training.loop import training_step
from diffalign.training.recipe.load import load_recipe
from pipelines import compare_methods, ddim_inpo, diffusion_dpo, favourite_background, paper, seppo, smpo
from pipelines.background_prompt_scorer import BackgroundPromptScorer
from pipelines.image_grain import grain, mean_grain
from pipelines.training_cost import expected_forwards

ROOT = Path(__file__).parents[2]
ASSETS = Path("assets/emoji")
needs_assets = pytest.mark.skipif(not (ROOT / ASSETS / "model").exists(), reason="no embedded model here")
PROGRAMS = {"diffusion_dpo": diffusion_dpo, "ddim_inpo": ddim_inpo, "smpo": smpo, "seppo": seppo}
HELD_OUT, JUDGE = f"label_hit:{ASSETS}/scorers/recogniser", f"clip:{ASSETS}/scorers/judge"


@pytest.fixture
def small(tmp_path, monkeypatch):
    """Overrides that reduce an experiment to seconds."""
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("DIFFALIGN_CACHE", str(tmp_path / "cache"))
    prompts = (ROOT / ASSETS / "prompts" / "dev.txt").read_text().splitlines()[:3]
    (tmp_path / "prompts.txt").write_text("\n".join(prompts))
    return [
        f'evaluate.prompts=["@{tmp_path / "prompts.txt"}"]',
        f'evaluate.scorers=["{HELD_OUT}"]',
        "evaluate.trained_on=[]",
        "evaluate.steps=1",
        "data.limit=4",
        "train.steps=2",
        "train.batch_size=2",
        "train.warmup_steps=0",
        "checkpoint.every=1",
    ]


def typed(values: list[str]) -> list[str]:
    return [word for value in values for word in ("--set", value)]


@pytest.mark.parametrize("preset", paper.PRESETS)
@pytest.mark.parametrize("method", PROGRAMS)
def test_every_recipe_of_a_program_loads_and_judges(preset, method):
    path = paper.recipe_file(preset, method)
    if (preset, method) == ("sdxl", "seppo"):
        assert not path.exists(), "no run on Stable Diffusion XL was published"
        return
    recipe = load_recipe(path)
    assert recipe.method == method
    assert recipe.evaluate.prompts and recipe.evaluate.scorers
    assert not set(recipe.evaluate.scorers) & set(recipe.evaluate.trained_on)


def test_a_preset_lists_what_is_not_on_disk(monkeypatch):
    monkeypatch.chdir(ROOT)
    needed = paper.not_on_disk(load_recipe(paper.recipe_file("sd15", "smpo")))
    assert "stable-diffusion-v1-5/stable-diffusion-v1-5" in needed
    assert "yuvalkirstain/pickapic_v2" in needed
    assert "pickscore" in needed


@needs_assets
def test_a_preset_of_embedded_parts_needs_nothing(monkeypatch):
    monkeypatch.chdir(ROOT)
    assert paper.not_on_disk(load_recipe(paper.recipe_file("emoji", "smpo"))) == []


@needs_assets
def test_smpo_scores_the_pairs_first_and_its_table_has_medians_of_every_judge(tmp_path, small, capsys):
    scores = tmp_path / "scores" / "judge.jsonl"
    values = [*small, f"data.scores=[{scores}]", f"labels.scorer={JUDGE}", f'evaluate.trained_on=["{JUDGE}"]']
    values += ["latents.steps=2"]
    smpo.main(["--preset", "emoji", "--output", str(tmp_path / "smpo"), *typed(values)])
    assert json.loads(scores.read_text().splitlines()[0])["scorer"] == JUDGE
    shown = capsys.readouterr().out
    assert (tmp_path / "smpo" / "table.md").read_text() in shown
    lines = [line for line in shown.splitlines() if line.startswith("| ")]
    assert [line.split("|")[1].strip() for line in lines] == ["judge", "label_hit:recogniser", "CLIP judge"]
    assert "base, median" in lines[0] and "aligned, median" in lines[0] and "win rate" in lines[0]
    assert "inversion" in shown and "3 fresh prompts" in shown


def test_a_scorer_can_add_the_background_that_the_prompts_leave_out():
    class Echo:
        name, unit, range, license, paper, weights, medium = "echo", "", (0.0, 1.0), "", "", "w", "image"

        def score(self, prompts, images):
            return prompts

    scorer = BackgroundPromptScorer(Echo(), "yellow")
    assert scorer.score(["two flat frogs, at the top"], [None]) == ["two flat frogs on a yellow background, at the top"]
    assert (scorer.name, scorer.weights) == ("echo, yellow background", "w")


@needs_assets
def test_the_favourite_background_is_drawn_first_and_judged_with_the_colour_in_the_prompt(tmp_path, small, monkeypatch):
    draw = partial(favourite_background.make_pairs, count=4, seed=0)
    monkeypatch.setattr(favourite_background, "make_pairs", lambda folder, colour, **_: draw(folder, colour))
    monkeypatch.setitem(favourite_background.SAMPLING, "steps", 1)
    prompts = (ROOT / ASSETS / "prompts" / "unnamed_background.txt").read_text().splitlines()[:2]
    (tmp_path / "prompts.txt").write_text("\n".join(prompts))
    values = [*small, f"data.train={tmp_path / 'pairs'}", "latents.steps=2"]
    result = paper.run("ddim_inpo", tmp_path / "inpo", preset="background", overrides=values)
    assert [judgement.name for judgement in result.comparison.held_out()] == [
        "held-out CLIP, yellow background",
        "label_hit:recogniser",
    ]
    assert result.cost.per_pair["inversion"] > 0


@needs_assets
def test_an_interrupted_program_resumes_and_a_finished_one_is_read(tmp_path, small, monkeypatch):
    whole = paper.run("diffusion_dpo", tmp_path / "whole", preset="emoji", overrides=small)

    class Killed(Exception):
        pass

    def dies(run):
        if run.step == 1:
            raise Killed
        training_step(run)

    with monkeypatch.context() as patch:
        patch.setattr("diffalign.training.loop.training_step", dies)
        with pytest.raises(Killed):
            paper.run("diffusion_dpo", tmp_path / "killed", preset="emoji", overrides=small)
    again = paper.run("diffusion_dpo", tmp_path / "killed", preset="emoji", overrides=small)
    assert [row["scores"] for row in again.comparison.rows] == [row["scores"] for row in whole.comparison.rows]
    assert (whole.cost.counted, again.cost.counted) == (4, 2)
    assert whole.cost.forwards == again.cost.forwards == 8
    with monkeypatch.context() as patch:
        patch.setattr("pipelines.paper.train_with_cost", None)
        assert paper.run("diffusion_dpo", tmp_path / "killed", preset="emoji", overrides=small).cost == again.cost


def test_grain_is_zero_on_flat_areas_and_slopes_and_four_times_the_height_of_a_checkerboard():
    flat = np.full((9, 9), 100, np.uint8)
    slope = np.tile(np.arange(0, 90, 10, dtype=np.uint8), (9, 1))
    checkers = flat + 2 * (np.indices((9, 9)).sum(0) % 2).astype(np.uint8)
    assert [grain(Image.fromarray(image)) for image in (flat, slope, checkers)] == [0, 0, 8]


@needs_assets
def test_methods_are_compared_on_equal_pairs_and_against_the_same_images(tmp_path, small):
    values = [*small, "seppo:pairs.steps=2", "seppo:pairs.every=1"]
    ranked = compare_methods.run(tmp_path, ["seppo", "diffusion_dpo"], preset="emoji", overrides=values)
    assert {entry.method for entry in ranked} == {"seppo", "diffusion_dpo"}
    assert [entry.pairs for entry in ranked] == [4, 4]
    assert ranked[0].wins["label_hit:recogniser"].rate >= ranked[1].wins["label_hit:recogniser"].rate
    forwards = {entry.method: entry.per_pair["forwards"] for entry in ranked}
    assert forwards == {"diffusion_dpo": 8, "seppo": 10}
    for entry in ranked:
        rows = Comparison.load(tmp_path / f"{entry.method}-seed0" / "comparison.json").rows
        assert [share.n for share in entry.hits["label_hit:recogniser"]] == [3, 3]
        assert entry.grain == tuple(mean_grain(row[side] for row in rows) for side in ("base", "aligned"))
    text, content = (tmp_path / "table.md").read_text(), json.loads((tmp_path / "table.json").read_text())
    assert all(name in text for name in ("seppo", "diffusion_dpo", "label_hit:recogniser", "| base ", " grain |"))
    assert [entry["method"] for entry in content["methods"]] == [entry.method for entry in ranked]
    assert (tmp_path / "sheet.png").exists()
    bases = [
        [row["base"] for row in json.loads((tmp_path / f"{name}-seed0" / "comparison.json").read_text())["rows"]]
        for name in ("seppo", "diffusion_dpo")
    ]
    assert bases[0] == bases[1]


def test_what_is_common_to_compared_methods_is_equal_and_the_four_choices_are_their_own(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    common = load_recipe(paper.recipe_file("emoji", "diffusion_dpo"))
    for name in (*compare_methods.DEFAULT_METHODS, "sft", "mapo", "diffusion_ipo"):
        recipe = compare_methods.with_method(common, name, "emoji", [], tmp_path)
        assert recipe.train == common.train and recipe.evaluate == common.evaluate
        assert recipe.model.adapter == common.model.adapter and recipe.data.train == common.data.train
    result = compare_methods.with_method(common, "smpo", "emoji", ["labels.gamma=3"], tmp_path)
    own = load_recipe(paper.recipe_file("emoji", "smpo"))
    assert (
        result.model.latents == own.model.latents and result.loss == own.loss and result.data.scores == own.data.scores
    )
    assert (result.labels.name, result.labels.hyper["gamma"]) == ("score_scaled", 3)


@pytest.mark.parametrize(
    ("name", "settings", "forwards", "steps"),
    [
        ("diffusion_dpo", [], 8, 200),
        ("ddim_inpo", ["latents.steps=10"], 8 + 2 * 5.5, 84),  # ten steps to the noisiest level, 5.5 on average
        ("smpo", ["latents.steps=10", "latents.corrections=1"], 8 + 4 * 5.5, 53),
        ("seppo", ["pairs.steps=15", "pairs.guidance=1"], 23, 70),
        ("seppo", ["pairs.steps=50", "pairs.guidance=7.5"], 108, 15),
        ("sft", [], 3, 533),
        ("mapo", [], 6, 267),
    ],
)
def test_with_equal_evaluations_expensive_methods_get_fewer_steps(
    name, settings, forwards, steps, tmp_path, monkeypatch
):
    monkeypatch.chdir(ROOT)
    values = ["train.steps=200", "train.warmup_steps=10", "model.timesteps=[0,1000]"]
    common = load_recipe(paper.recipe_file("emoji", "diffusion_dpo"), values)
    recipe = compare_methods.with_method(common, name, "emoji", settings, tmp_path)
    assert expected_forwards(recipe) == pytest.approx(forwards)
    assert expected_forwards(recipe, size=16 * 30) == expected_forwards(recipe)
    if name == "seppo":  # half as many pairs as a round has visits: each is sampled once and met twice
        assert expected_forwards(recipe, size=16 * 15) == pytest.approx((forwards - 8) / 2 + 8)
    scaled = compare_methods.with_budget(recipe, common)
    assert scaled.train.steps == steps
    assert scaled.train.warmup_steps == round(steps / 20)


def test_an_unknown_method_is_refused_before_anything_is_generated(tmp_path):
    with pytest.raises(ConfigError, match="smpo"):
        compare_methods.run(tmp_path, ["smppo"])
    assert not list(tmp_path.iterdir())


@pytest.mark.long
@needs_assets
@pytest.mark.timeout(3000)
@pytest.mark.parametrize("method", PROGRAMS)
def test_the_aligned_model_beats_its_base_by_a_held_out_judge(method, tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("DIFFALIGN_CACHE", str(tmp_path / "cache"))
    values = [f"data.train={tmp_path / 'pairs'}"]
    values += [f"data.scores=[{tmp_path / 'judge.jsonl'}]"] if method == "smpo" else []
    result = paper.run(method, tmp_path / method, overrides=values)
    print(PROGRAMS[method].TABLE.show(result.comparison), result.cost.summary(), sep="\n")
    assert result.comparison.held_out()[0].win.low > 0.5
