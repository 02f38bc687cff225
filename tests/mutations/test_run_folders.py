"""Folders of runs that something damaged: a resume, a report and `info` read them or refuse in a sentence."""

import json
import shutil
from itertools import chain

import pytest
import yaml

from diffalign.evaluation.report.write import write_report
from diffalign.sharing.read_adapter import read_info
from diffalign.training.loop import train
from tests.mutations import mutated_bytes, mutated_folders, mutated_json, mutated_yaml, try_all
from tests.training.toy import ToyPolicy, toy_pairs, toy_recipe

SETTINGS = {
    "train__steps": 5,
    "train__batch_size": 2,
    "train__micro_batch_size": 2,
    "checkpoint__every": 2,
    "log__every": 1,
    "previews": {"prompts": ["a fox"], "every": 2, "steps": 2},
}


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    """A run of five steps that was killed after the fourth."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    train(toy_recipe(folder, **SETTINGS), policy=ToyPolicy(), pairs=toy_pairs(4))
    shutil.rmtree(folder / "checkpoints" / "step-00000005")
    shutil.rmtree(folder / "result")
    return folder


def resume(folder):
    train(toy_recipe(folder, **SETTINGS), policy=ToyPolicy(), pairs=toy_pairs(4), resume=True)


def changed(stored, into, name, contents):
    """Yields copies of a run with other content in one file; each is removed when the next one is due."""
    for number, (what, content) in enumerate(contents):
        folder = into / str(number)
        shutil.copytree(stored, folder)
        (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode("utf-8", "replace"))
        yield f"{name}: {what}", folder
        shutil.rmtree(folder)


def test_a_resume_of_a_damaged_folder_goes_on_or_is_refused(stored, tmp_path):
    try_all("run folders", resume, mutated_folders(stored, tmp_path, 70, seed=0)).check()


def test_a_state_that_says_something_else_is_passed_over_or_refused(stored, tmp_path):
    name = "checkpoints/step-00000004/state.json"
    values = json.loads((stored / name).read_text())
    contents = mutated_json(values, 20, seed=1)
    del values["sum"]  # as in checkpoints of earlier versions
    facts = ((what, json.dumps({**values, "facts": json.loads(text)})) for what, text in _parsed(values, 30))
    trial = try_all("states of checkpoints", resume, changed(stored, tmp_path, name, chain(contents, facts)))
    assert not trial.faults, trial.report()
    print(trial.report(most=0))


def _parsed(values, count):
    """Facts with one mutation each that are still JSON."""
    for what, text in mutated_json(values["facts"], count, seed=3):
        try:
            json.loads(text)
        except (ValueError, RecursionError):
            continue
        yield f"facts, {what}", text


def test_a_stored_recipe_that_says_something_else_is_refused(stored, tmp_path):
    values = yaml.safe_load((stored / "recipe.yaml").read_text())
    contents = [*mutated_yaml(values, 28, seed=4), *mutated_bytes((stored / "recipe.yaml").read_bytes(), 14, seed=5)]
    try_all("stored recipes", resume, changed(stored, tmp_path, "recipe.yaml", contents)).check()


def test_damaged_metrics_and_markers_do_not_keep_a_run_from_going_on(stored, tmp_path):
    for name, count in (("metrics.jsonl", 28), ("run.json", 14)):
        contents = mutated_bytes((stored / name).read_bytes(), count, seed=6)
        trial = try_all(name, resume, changed(stored, tmp_path, name, contents))
        print(trial.report(most=0))
        assert not trial.faults, trial.report()
        assert len(trial.read) > count / 2


def test_a_report_and_info_read_a_damaged_folder_or_refuse_it(stored, tmp_path):
    def look(folder):
        write_report(folder, metrics=folder / "metrics.jsonl")
        read_info(folder)

    try_all("run folders", look, mutated_folders(stored, tmp_path, 20, seed=7)).check()
