"""Prompts, files of prompts, judges, and folders to score, as named on the command line or in a recipe."""

import json

import pytest
from PIL import Image

from diffalign.errors import DataError, UserError
from diffalign.evaluation.compare.load_judges import load_judges
from diffalign.evaluation.samples.prompts import read_prompts
from diffalign.evaluation.scoring.score_samples import score_folder
from diffalign.evaluation.scoring.sources import is_sample_folder


def test_a_file_of_prompts_is_replaced_by_its_lines(tmp_path):
    (tmp_path / "p.txt").write_text("a fox\n\n  two owls  \n", encoding="utf-8")
    assert read_prompts(["a cat", f"@{tmp_path / 'p.txt'}"]) == ["a cat", "a fox", "two owls"]


def test_a_missing_file_of_prompts_is_named(tmp_path):
    with pytest.raises(UserError, match="nowhere.txt"):
        read_prompts([f"@{tmp_path / 'nowhere.txt'}"])


def test_an_empty_file_of_prompts_is_refused(tmp_path):
    (tmp_path / "p.txt").write_text("\n\n")
    with pytest.raises(UserError, match="no prompt"):
        read_prompts([f"@{tmp_path / 'p.txt'}"])


def test_rows_of_a_table_are_no_prompts(tmp_path):
    (tmp_path / "p.jsonl").write_text('{"prompt": "a fox"}\n')
    with pytest.raises(UserError, match="names a table, whose lines are no prompts"):
        read_prompts([f"@{tmp_path / 'p.jsonl'}"])


def test_judges_are_loaded_with_their_roles():
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


def test_scores_are_added_to_the_metadata_and_other_scores_stay(folder):
    (line,) = score_folder(folder, ["background:red"])
    rows = [json.loads(text) for text in (folder / "metadata.jsonl").read_text().splitlines()]
    assert rows[0]["scores"] == {"other": 1.0, "background:red": 1.0}
    assert rows[1]["scores"] == {"background:red": 0.0}
    assert "0.5000" in line and "2 images" in line


def test_an_unknown_scorer_leaves_the_folder_as_it_was(folder):
    before = (folder / "metadata.jsonl").read_text()
    with pytest.raises(UserError, match="background"):
        score_folder(folder, ["backgroud:red"])
    assert (folder / "metadata.jsonl").read_text() == before


def test_a_folder_without_metadata_is_refused(tmp_path):
    with pytest.raises(DataError, match="metadata.jsonl"):
        score_folder(tmp_path, ["background:red"])


@pytest.fixture
def texts(tmp_path):
    """Two answers in separate files, one with a score of another judge."""
    answers = ["It was wonderful!", "It was terrible."]
    for number, answer in enumerate(answers):
        (tmp_path / f"{number}.txt").write_text(answer)
    rows = [{"file_name": f"{n}.txt", "prompt": "How was it?", "seed": n, "completion": answers[n]} for n in (0, 1)]
    rows[0]["scores"] = {"other": 1.0}
    (tmp_path / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path


def test_a_folder_of_texts_is_scored_text_by_text(texts):
    assert is_sample_folder(texts)
    lines = score_folder(texts, ["sentiment", "length"])
    rows = [json.loads(text) for text in (texts / "metadata.jsonl").read_text().splitlines()]
    assert rows[0]["scores"]["sentiment"] > 0 > rows[1]["scores"]["sentiment"] and rows[0]["scores"]["other"] == 1
    assert rows[0]["completion"] == "It was wonderful!" and "3.0000 +- 0.0000 (words; 2 texts)" in lines[1]


def test_texts_may_be_in_the_metadata_only_plain_or_in_turns(tmp_path):
    turns = [{"role": "assistant", "content": "It was wonderful!"}]
    rows = [{"prompt": "How was it?", "completion": "It was terrible."}, {"prompt": "How was it?", "completion": turns}]
    path = tmp_path / "metadata.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert is_sample_folder(tmp_path)
    score_folder(tmp_path, ["polarity"])
    low, high = (json.loads(line)["scores"]["polarity"] for line in path.read_text().splitlines())
    assert low == -1 and high == 1
    path.write_text('{"prompt": "p", "completion": 3}\n')
    with pytest.raises(DataError, match="line 1: expected an object with prompt and completion"):
        score_folder(tmp_path, ["polarity"])


def test_a_folder_of_votes_is_not_a_folder_of_samples(tmp_path):
    for row in ({"prompt": "p", "completion": "x", "label": True}, {"prompt": "p", "chosen": "x", "rejected": "y"}):
        (tmp_path / "metadata.jsonl").write_text(json.dumps(row) + "\n")
        assert not is_sample_folder(tmp_path)


def test_a_judge_of_another_medium_is_refused_before_it_is_loaded(texts):
    before = (texts / "metadata.jsonl").read_text()
    with pytest.raises(UserError, match="'clip:/nowhere' judges images, but .* holds texts"):
        score_folder(texts, ["clip:/nowhere"])
    assert (texts / "metadata.jsonl").read_text() == before
