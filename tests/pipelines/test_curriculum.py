"""A curriculum is trained stage by stage from the weights of the previous stage, and resumes after an interruption."""

import json
import math
from pathlib import Path

import pytest
import torch
import yaml

from diffalign.data.readers.formats.pairs_with_extra_columns import PairRow
from diffalign.data.transforms import build_curriculum
from diffalign.data.transforms.curriculum_files import read_stages, write_stages
from diffalign.data.writing.jsonl import write_pairs
from diffalign.errors import ConfigError, RunError
from diffalign.pairs.checkpoint_pool import CheckpointPool
from diffalign.training import loop
from diffalign.training.loop import train
from diffalign.training.recipe.load import load_recipe, make_recipe
from diffalign.training.recipe.model_kinds import open_model
from pipelines import curriculum as program
from tests.tiny import tiny_pairs, tiny_sd
from tests.tiny_text import text_pairs, tiny_llm

ROOT = Path(__file__).parents[2]


def graded(pairs):
    """Pairs with a score; the first has the largest gap."""
    return [
        PairRow(type(p)(**{**p.__dict__, "scores": {"chosen": {"score": 9.0 - n}, "rejected": {"score": 0.0}}}))
        for n, p in enumerate(pairs)
    ]


def recipe_of(tmp_path, model, **train):
    return make_recipe(
        {
            "loss": {"name": "logistic", "beta": 1.0},
            "model": {"path": str(model), "cache": str(tmp_path / "cache"), "adapter": {"rank": 2}},
            "data": {"train": str(tmp_path / "pairs.jsonl")},
            "train": {"steps": 1, "batch_size": 2, "learning_rate": 1e-2, "mixed_precision": "no", **train},
            "log": {"every": 1},
            "output": str(tmp_path / "run"),
        }
    )


@pytest.fixture
def text(tmp_path):
    write_pairs(tmp_path / "pairs.jsonl", graded(text_pairs(8)))
    write_stages(tmp_path / "stages", build_curriculum(graded(text_pairs(8)), key="score", stages=2, by="global"))
    return recipe_of(tmp_path, tiny_llm(tmp_path / "llm")), read_stages(tmp_path / "stages")


def first_losses(result):
    return [records[0]["loss"] for records in result.metrics]


def test_with_the_previous_stage_as_reference_every_stage_starts_at_log_two(text):
    recipe, stages = text
    result = program.run(recipe, stages)
    assert first_losses(result) == pytest.approx([math.log(2.0)] * 2, abs=1e-6)
    assert [len(records) for records in result.metrics] == [2, 2]
    assert result.artifact.exists() and result.artifact.parent.name == "stage-2"
    assert "%" in (Path(recipe.output) / "stages.md").read_text()


def test_with_a_fixed_reference_only_the_first_stage_starts_at_log_two(text, tmp_path):
    recipe, stages = text
    moved = program.run(recipe, stages)
    fixed = program.run(recipe.model_copy(update={"output": str(tmp_path / "fixed")}), stages, reference="fixed")
    assert first_losses(fixed)[0] == first_losses(moved)[0]
    assert abs(first_losses(fixed)[1] - math.log(2.0)) > 1e-4


def test_each_stage_starts_from_the_weights_of_the_previous_one(text, tmp_path):
    recipe, stages = text
    program.run(recipe, stages)
    pool = CheckpointPool(tmp_path / "run" / "pool")
    policy = open_model(recipe.model)
    policy.load_state(pool.load(1))
    policy.set_reference(pool.load(1))
    again = program.recipe_of_stage(recipe, stages.files[1], 2, tmp_path / "again")
    state = train(again, policy=policy).policy.state()
    kept = pool.load(2)
    assert all(torch.equal(state[name], kept[name]) for name in kept)
    assert any(not torch.equal(pool.load(1)[name], kept[name]) for name in kept)


def test_one_stage_with_a_fixed_reference_is_the_plain_training(text, tmp_path):
    recipe, _ = text
    write_stages(tmp_path / "one", build_curriculum(graded(text_pairs(8)), key="score", stages=1, by="global"))
    staged = program.run(recipe, read_stages(tmp_path / "one"), reference="fixed")
    plain = recipe.model_copy(
        update={"output": str(tmp_path / "plain"), "train": recipe.train.model_copy(update={"steps": 4})}
    )
    result = train(plain)
    state = result.policy.state()
    assert all(torch.equal(value, state[name]) for name, value in staged.policy.state().items())


def test_an_interrupted_curriculum_resumes_with_the_same_result(text, tmp_path, monkeypatch):
    recipe, stages = text
    whole = program.run(recipe, stages).policy.state()
    killed = recipe.model_copy(
        update={"output": str(tmp_path / "killed"), "checkpoint": recipe.checkpoint.model_copy(update={"every": 1})}
    )
    step, done = loop.training_step, []

    def stop(run):
        if len(done) == 3:
            raise KeyboardInterrupt
        done.append(run.step)
        step(run)

    monkeypatch.setattr(loop, "training_step", stop)
    with pytest.raises(KeyboardInterrupt):
        program.run(killed, stages)
    monkeypatch.setattr(loop, "training_step", step)
    state = program.run(killed, stages).policy.state()
    assert all(torch.equal(value, whole[name]) for name, value in state.items())
    again = program.run(killed, stages)
    assert len(again.metrics[1]) == 2
    with pytest.raises(RunError, match="train.steps was 2, now 4"):
        program.run(
            killed.model_copy(update={"train": killed.train.model_copy(update={"schedule": "linear"})}),
            stages,
            epochs=2,
        )


def test_every_weight_may_train(text, tmp_path):
    recipe, stages = text
    model = recipe.model.model_copy(update={"adapter": None, "reference": "copy"})
    result = program.run(recipe.model_copy(update={"model": model, "output": str(tmp_path / "full")}), stages)
    assert first_losses(result) == pytest.approx([math.log(2.0)] * 2, abs=1e-6)


def test_images_take_a_curriculum_too_and_the_program_makes_its_stages(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("DIFFALIGN_CACHE", str(tmp_path / "cache"))
    pairs = graded(tiny_pairs(tmp_path / "images"))
    write_pairs(tmp_path / "images" / "pairs.jsonl", pairs)
    tiny_sd(tmp_path / "sd")
    recipe = {
        "method": "diffusion_dpo",
        "loss": {"beta": 1.0},
        "model": {"path": str(tmp_path / "sd"), "adapter": {"rank": 2}, "resolution": 16},
        "data": {"train": str(tmp_path / "images" / "pairs.jsonl")},
        "train": {"steps": 9, "batch_size": 1, "learning_rate": 1e-2, "scale_lr": False, "warmup_steps": 0},
        "log": {"every": 1},
        "evaluate": {"prompts": ["a fox"], "scorers": ["background:red"], "steps": 1},
        "output": str(tmp_path / "run"),
    }
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    arguments = [str(tmp_path / "recipe.yaml"), "--number", "2", "--set", "train.seed=1"]
    program.main(arguments)
    output = capsys.readouterr().out
    assert "stage 1:" in output and "| stage" in output and "background" in output
    first = [
        json.loads((tmp_path / "run" / f"stage-{n}" / "metrics.jsonl").read_text().splitlines()[0]) for n in (1, 2)
    ]
    assert [row["loss"] for row in first] == pytest.approx([math.log(2.0)] * 2, abs=1e-5)
    assert (tmp_path / "run" / "evaluation" / "comparison.json").is_file()
    (tmp_path / "gone.yaml").write_text(yaml.safe_dump(recipe))
    with pytest.raises(SystemExit, match="there is no curriculum.yaml"):
        program.main([str(tmp_path / "gone.yaml"), "--stages", str(tmp_path)])


def test_settings_that_cannot_be_applied_are_refused(text):
    recipe, stages = text
    with pytest.raises(ConfigError, match="above 0"):
        program.run(recipe, stages, epochs=0)


def test_the_embedded_recipe_can_be_run(monkeypatch):
    monkeypatch.chdir(ROOT)
    recipe = load_recipe("configs/emoji/curriculum.yaml")
    assert recipe.method == "diffusion_dpo" and recipe.evaluate.prompts
