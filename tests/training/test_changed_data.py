"""A checkpoint knows by content what it was trained on: a resume on other data is refused, or said where wanted."""

import json
import shutil
from dataclasses import replace

import pytest
import yaml

import diffalign
from diffalign.errors import RunError
from diffalign.training.align import align
from diffalign.training.loop import train
from diffalign.training.recipe.load import make_recipe
from diffalign.training.storage.run_folder import RunFolder
from tests.tiny_text import tiny_llm
from tests.training.toy import ToyPolicy, toy_pairs, toy_recipe

WORDS = ["red", "blue", "green", "gray", "pink", "gold", "lime", "teal", "navy", "plum"]
SHORT = {"train__steps": 4, "checkpoint__every": 2, "log__every": 1}


@pytest.fixture(scope="module")
def llm(tmp_path_factory):
    return tiny_llm(tmp_path_factory.mktemp("llm"))


def table(path, count, **columns):
    rows = [{"prompt": f"Say {w}:", "chosen": f" {w}!", "rejected": f" not {w}", **columns} for w in WORDS[:count]]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def text_recipe(llm, output, data, steps=4, **more):
    return make_recipe(
        {
            "model": {"kind": "text", "path": str(llm), "adapter": {"rank": 4}, "max_length": 200},
            "data": {"train": str(data), **more},
            "loss": {"name": "logistic", "beta": 0.1},
            "train": {"steps": steps, "batch_size": 4, "learning_rate": 0.01, "mixed_precision": "no"},
            "log": {"every": 1},
            "checkpoint": {"every": 2},
            "guard": {"action": "off"},
            "output": str(output),
        }
    )


def kill_after(output, step):
    """Leaves the run as if it had been killed after a step."""
    for path in RunFolder(output).own_checkpoints():
        if int(path.name.split("-")[1]) > step:
            shutil.rmtree(path)


def test_rows_added_between_a_kill_and_a_resume_are_refused_or_said(llm, tmp_path):
    data, output = table(tmp_path / "data.jsonl", 7), tmp_path / "run"
    align(text_recipe(llm, output, data))
    kill_after(output, 2)
    before = (output / "metrics.jsonl").read_text()
    table(data, 10)
    sentence = "3 rows were added after the first 7"
    with pytest.raises(RunError, match=rf"trained on up to step 2: {sentence}.*--resume-on-changed-data"):
        align(text_recipe(llm, output, data), resume=True)
    assert (output / "metrics.jsonl").read_text() == before
    aligned = align(text_recipe(llm, output, data), resume_on_changed_data=True)
    assert aligned.result.data_changes == (f"after step 2 the data changed: {sentence}",)
    for file in ("report.html", "result/README.md"):
        assert sentence in (output / file).read_text(), file
    again = align(text_recipe(llm, output, data, steps=5), resume=True)  # the change is the run's from now on
    assert again.result.data_changes == aligned.result.data_changes


def test_the_header_says_that_the_data_changed(tmp_path, capsys):
    train(toy_recipe(tmp_path, **SHORT), policy=ToyPolicy(), pairs=toy_pairs())
    longer = toy_recipe(tmp_path, **{**SHORT, "train__steps": 6})
    capsys.readouterr()
    train(longer, policy=ToyPolicy(), pairs=toy_pairs()[::-1], resume_on_changed_data=True)
    shown = capsys.readouterr().err
    assert "after step 4 the data changed: its 12 rows are in another order" in shown.partition("resumed after")[0]


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (lambda rows: rows[:9], "there were 12 rows, and there are 9 now"),
        (lambda rows: rows[::-1], "in another order"),
        (lambda rows: [replace(rows[0], chosen="c p7"), *rows[1:]], "prompts, candidates or ids"),
        (
            lambda rows: [replace(rows[0], probability=0.7), *rows[1:]],
            "scores, probabilities, groups or weights of frames",
        ),
    ],
)
def test_every_change_of_the_data_is_refused(tmp_path, edit, said):
    train(toy_recipe(tmp_path, **SHORT), policy=ToyPolicy(), pairs=toy_pairs())
    kill_after(tmp_path, 2)
    with pytest.raises(RunError, match=rf"step 2: .*{said}"):
        train(toy_recipe(tmp_path, **SHORT), policy=ToyPolicy(), pairs=edit(toy_pairs()), resume=True)


def test_changed_scores_in_a_file_of_their_own_are_refused(llm, tmp_path):
    from diffalign.data.readers import read_pairs
    from diffalign.data.records.score_table import write_scores

    data, scores, output = table(tmp_path / "data.jsonl", 7), tmp_path / "scores.jsonl", tmp_path / "run"
    ids = [pair.id for pair in read_pairs(str(data)).pairs]

    def recipe():
        return text_recipe(llm, output, data, scores=[str(scores)])

    write_scores(scores, "judge", dict.fromkeys(ids, (1.0, 0.0)))
    diffalign.train(recipe())
    write_scores(scores, "judge", dict.fromkeys(ids, (2.0, 0.0)))
    with pytest.raises(RunError, match="scores, probabilities, groups or weights of frames of its 7 rows changed"):
        diffalign.train(recipe(), resume=True)


def test_equal_data_elsewhere_resumes_bit_for_bit(llm, tmp_path):
    data = table(tmp_path / "data.jsonl", 7)
    for output in ("straight", "parts"):
        diffalign.train(text_recipe(llm, tmp_path / output, data))
    kill_after(tmp_path / "parts", 2)
    table(tmp_path / "data.jsonl", 7)  # written again: another time
    diffalign.train(text_recipe(llm, tmp_path / "parts", data), resume=True)
    lines = [(tmp_path / output / "metrics.jsonl").read_text().splitlines() for output in ("straight", "parts")]
    first, second = ([{k: v for k, v in json.loads(x).items() if "time/" not in k} for x in part] for part in lines)
    assert first == second


def test_a_run_without_a_checkpoint_begins_with_the_data_as_it_is(tmp_path):
    train(toy_recipe(tmp_path, **SHORT), policy=ToyPolicy(), pairs=toy_pairs())
    kill_after(tmp_path, 0)
    result = train(toy_recipe(tmp_path, **SHORT), policy=ToyPolicy(), pairs=toy_pairs(9), resume=True)
    assert result.data_changes == () and result.steps == 4


def test_checkpoints_of_earlier_versions_resume_with_a_notice(tmp_path, capsys):
    train(toy_recipe(tmp_path, **SHORT), policy=ToyPolicy(), pairs=toy_pairs())
    kill_after(tmp_path, 2)
    (state,) = tmp_path.glob("checkpoints/*/state.json")
    values = json.loads(state.read_text())
    for key in ("data", "data_changes"):
        del values["facts"][key]
    for key in ("run", "extra", "checksums", "sum"):
        del values[key]
    state.write_text(json.dumps(values))
    (tmp_path / "run.json").unlink()
    capsys.readouterr()
    result = train(toy_recipe(tmp_path, **SHORT), policy=ToyPolicy(), pairs=toy_pairs(), resume=True)
    assert result.steps == 4 and "notice: the checkpoint does not say what it was trained on" in capsys.readouterr().err


def test_fewer_steps_than_done_are_refused_and_the_card_states_the_steps_of_the_weights(llm, tmp_path):
    data, output = table(tmp_path / "data.jsonl", 7), tmp_path / "run"
    align(text_recipe(llm, output, data, steps=6))
    with pytest.raises(RunError, match=r"has done 6 steps already, and the recipe has 3.*--set train\.steps=6"):
        align(text_recipe(llm, output, data, steps=3), resume=True)
    assert yaml.safe_load((output / "recipe.yaml").read_text())["train"]["steps"] == 6
    align(text_recipe(llm, output, data, steps=8), resume=True)
    assert "| steps | 8 |" in (output / "result" / "README.md").read_text()
