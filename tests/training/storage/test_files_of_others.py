"""Nothing that a run did not write is ever removed or overwritten: its folder is marked with the run's id."""

import json

import pytest
import torch

from diffalign.cli.commands_train import demo, demo_folder
from diffalign.data.readers.formats.pairs_with_extra_columns import PairRow
from diffalign.data.storage.tensor_cache import TensorCache, remove_caches
from diffalign.data.transforms.curriculum import Curriculum
from diffalign.data.transforms.curriculum_files import write_stages
from diffalign.errors import ConfigError, RunError, UserError
from diffalign.training.loop import train
from diffalign.training.storage.checkpoint import Snapshot, write_checkpoint
from diffalign.training.storage.checkpoint_folder import complete_checkpoints
from diffalign.training.storage.run_folder import RunFolder
from tests.training.toy import ToyPolicy, toy_pairs, toy_recipe


def mine(folder, *names):
    """Writes files of the user and returns what they hold."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(f"mine: {name}")
    return lambda: all((folder / name).read_text() == f"mine: {name}" for name in names)


@pytest.mark.parametrize("override", ["train.steps=none", "no.such.key=1", "=", "train.steps=1"])
def test_a_demo_never_removes_what_its_folder_holds(tmp_path, override):
    intact = mine(tmp_path, "recipe.yaml", "notes/plan.txt", "metrics.jsonl", "result/weights.bin")
    with pytest.raises((ConfigError, RunError)):
        demo(output=tmp_path, seed=0, set_=[override], resume=False)
    assert intact() and len(list(tmp_path.iterdir())) == 4


def test_each_demo_has_a_folder_of_its_own_and_a_resume_finds_the_last(tmp_path):
    usual = tmp_path / "demo"
    assert demo_folder(usual, resume=False) == demo_folder(usual, resume=True) == usual
    mine(tmp_path, "demo/recipe.yaml")
    assert demo_folder(usual, resume=False) == tmp_path / "demo-2" and demo_folder(usual, resume=True) == usual
    (tmp_path / "demo-2").mkdir()
    assert demo_folder(usual, resume=False) == tmp_path / "demo-2"
    mine(tmp_path, "demo-2/x")
    assert demo_folder(usual, resume=False) == tmp_path / "demo-3"
    assert demo_folder(usual, resume=True) == tmp_path / "demo-2"


def test_an_unknown_demo_is_refused_with_those_that_there_are(tmp_path):
    with pytest.raises(UserError, match="demos image, video, rounds; got 'sound'"):
        demo("sound", output=tmp_path, seed=0, set_=[], resume=False)


@pytest.mark.parametrize("name", ["metrics.jsonl", "recipe.yaml", "checkpoints/step-00000005/x", "result/README.md"])
def test_a_run_does_not_begin_where_it_would_overwrite_files_that_no_run_wrote(tmp_path, name):
    intact = mine(tmp_path, name, "other.txt")
    top = name.split("/")[0]
    with pytest.raises(RunError, match=rf"holds {top}, which are of no run.*--set output="):
        train(toy_recipe(tmp_path), policy=ToyPolicy(), pairs=toy_pairs())
    assert intact() and not (tmp_path / "run.json").exists()


def test_a_copied_marker_makes_no_file_of_others_a_runs_own(tmp_path):
    intact = mine(tmp_path, "report.html", "result/README.md")
    (tmp_path / "run.json").write_text('{"run": "of-another"}')
    with pytest.raises(RunError, match=r"holds result, report.html, which are of no run"):
        train(toy_recipe(tmp_path), policy=ToyPolicy(), pairs=toy_pairs())
    assert intact() and not (tmp_path / "recipe.yaml").exists()


def test_no_second_run_begins_among_the_checkpoints_of_one_whose_recipe_is_lost(tmp_path):
    train(toy_recipe(tmp_path, checkpoint__every=1, train__steps=3), policy=ToyPolicy(), pairs=toy_pairs())
    (tmp_path / "recipe.yaml").unlink()
    before = (tmp_path / "metrics.jsonl").read_bytes()
    with pytest.raises(RunError, match=r"holds metrics.jsonl, checkpoints, result, which are of no run that it names"):
        train(toy_recipe(tmp_path, train__steps=2, train__seed=9), policy=ToyPolicy(), pairs=toy_pairs())
    assert (tmp_path / "metrics.jsonl").read_bytes() == before


@pytest.mark.parametrize(("name", "reason"), [("a\0b", "contains a null character"), ("x" * 300, "is too long")])
def test_an_output_that_no_folder_can_be_called_is_refused_before_anything_is_loaded(tmp_path, name, reason):
    with pytest.raises(RunError, match=rf"{reason}, so no folder can have that name.*--set output=") as error:
        train(toy_recipe(tmp_path / name), policy=ToyPolicy(), pairs=toy_pairs())
    assert "\0" not in str(error.value)


def test_a_run_leaves_other_files_of_its_folder_alone(tmp_path):
    intact = mine(tmp_path, "data.jsonl", "notes.txt")
    short = {"checkpoint__every": 1, "checkpoint__keep": 1, "train__steps": 3}
    train(toy_recipe(tmp_path, **short), policy=ToyPolicy(), pairs=toy_pairs())
    names = ("checkpoints/step-00000003/notes.txt", "checkpoints/step-00000001/policy.safetensors", "result/mine.txt")
    inside = mine(tmp_path, *names)
    run = json.loads((tmp_path / "run.json").read_text())["run"]
    train(toy_recipe(tmp_path, **{**short, "train__steps": 5}), policy=ToyPolicy(), pairs=toy_pairs(), resume=True)
    assert intact() and inside() and json.loads((tmp_path / "run.json").read_text())["run"] == run
    steps = [path.name for path in RunFolder(tmp_path).own_checkpoints()]
    assert steps == ["step-00000005"] and not (tmp_path / "checkpoints/step-00000003/policy.safetensors").exists()


def test_checkpoints_of_another_run_are_neither_resumed_nor_removed(tmp_path):
    def one(step, run):
        return Snapshot(step, {"policy": {"w": torch.ones(2)}}, {}, run)

    for step in (1, 9):
        write_checkpoint(tmp_path, one(step, "other"), keep=5)
    for step in (2, 3):
        write_checkpoint(tmp_path, one(step, "ours"), keep=1)
    assert [path.name for path in complete_checkpoints(tmp_path, "ours")] == ["step-00000003"]
    assert [path.name for path in complete_checkpoints(tmp_path)][::2] == ["step-00000001", "step-00000009"]


def test_a_checkpoint_takes_its_name_where_files_of_others_are_and_moves_them_aside(tmp_path):
    mine(tmp_path, "step-00000004/notes.txt")
    write_checkpoint(tmp_path, Snapshot(4, {"policy": {"w": torch.ones(2)}}, {}, "ours"), keep=1)
    (aside,) = tmp_path.glob("step-00000004-other-*")
    assert (aside / "notes.txt").read_text() == "mine: step-00000004/notes.txt"
    assert [path.name for path in complete_checkpoints(tmp_path, "ours")] == ["step-00000004"]


def test_only_files_of_a_cache_are_removed_with_it(tmp_path):
    cache = TensorCache(tmp_path / "round-000001", "maker")
    cache.put_many({"key": {"x": torch.ones(3)}})
    intact = mine(tmp_path / "round-000001", "notes.txt", f"{cache.folder.name}/mine.safetensors", "photos/a.png")
    remove_caches(tmp_path / "round-000001")
    left = sorted(path.name for path in (tmp_path / "round-000001").rglob("*") if path.is_file())
    assert intact() and left == ["a.png", "mine.safetensors", "notes.txt"]
    TensorCache(tmp_path / "empty", "maker").put_many({"key": {"x": torch.ones(3)}})
    remove_caches(tmp_path / "empty")
    assert not (tmp_path / "empty").exists()


def test_fewer_stages_remove_earlier_stages_and_nothing_else(tmp_path):
    intact = mine(tmp_path, "stage-7.jsonl", "stage-final.jsonl")
    pairs = [PairRow(pair) for pair in toy_pairs(4)]
    write_stages(tmp_path, Curriculum(stages=[pairs[:2], pairs[2:3], pairs[3:]]))
    assert len(list(tmp_path.glob("stage-?.jsonl"))) == 4
    write_stages(tmp_path, Curriculum(stages=[pairs]))
    assert intact() and sorted(path.name for path in tmp_path.glob("stage-?.jsonl")) == [
        "stage-1.jsonl",
        "stage-7.jsonl",
    ]
