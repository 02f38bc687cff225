"""What users name on the command line or in a recipe: prompts, files of prompts, judges, folders to score."""

import json

import pytest
from PIL import Image

from diffalign.errors import DataError, UserError
from diffalign.evaluation.judges import load_judges
from diffalign.evaluation.prompts import read_prompts
from diffalign.evaluation.score import score_folder


def test_a_file_of_prompts_stands_for_its_lines(tmp_path):
    (tmp_path / "p.txt").write_text("a fox\n\n  two owls  \n", encoding="utf-8")
    assert read_prompts(["a cat", f"@{tmp_path / 'p.txt'}"]) == ["a cat", "a fox", "two owls"]


def test_a_missing_file_of_prompts_is_named(tmp_path):
    with pytest.raises(UserError, match="nowhere.txt"):
        read_prompts([f"@{tmp_path / 'nowhere.txt'}"])


def test_an_empty_file_of_prompts_is_no_prompt(tmp_path):
    (tmp_path / "p.txt").write_text("\n\n")
    with pytest.raises(UserError, match="no prompt"):
        read_prompts([f"@{tmp_path / 'p.txt'}"])


def test_judges_keep_their_part_in_the_training():
    judges = load_judges(["background:red"], ["background:blue"])
    assert {name: role for name, (_, role) in judges.items()} == {
        "background:red": "held-out",
        "background:blue": "trained-on",
    }


def test_a_judge_that_made_the_pairs_is_not_held_out():
    with pytest.raises(UserError, match="cannot both"):
        load_judges(["background:red"], ["background:red"])


@pytest.fixture
def folder(tmp_path):
    for name, colour in (("red.png", (196, 30, 48)), ("blue.png", (36, 84, 204))):
        Image.new("RGB", (16, 16), colour).save(tmp_path / name)
    rows = [{"file_name": "red.png", "prompt": "a", "scores": {"other": 1.0}}, {"file_name": "blue.png", "prompt": "b"}]
    (tmp_path / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path


def test_scores_are_written_beside_the_pictures_and_earlier_ones_stay(folder):
    (line,) = score_folder(folder, ["background:red"])
    rows = [json.loads(text) for text in (folder / "metadata.jsonl").read_text().splitlines()]
    assert rows[0]["scores"] == {"other": 1.0, "background:red": 1.0}
    assert rows[1]["scores"] == {"background:red": 0.0}
    assert "0.5000" in line and "2 pictures" in line


def test_an_unknown_scorer_leaves_the_folder_as_it_was(folder):
    before = (folder / "metadata.jsonl").read_text()
    with pytest.raises(UserError, match="background"):
        score_folder(folder, ["backgroud:red"])
    assert (folder / "metadata.jsonl").read_text() == before


def test_a_folder_without_metadata_is_refused(tmp_path):
    with pytest.raises(DataError, match="metadata.jsonl"):
        score_folder(tmp_path, ["background:red"])
