"""A table that fits no format is shown the nearest format of its medium, and the columns to name for it."""

import csv

import pytest

from diffalign.data.readers import read_pairs
from diffalign.errors import DataError
from tests.data.fixtures import image, jsonl, parquet


def message(path) -> str:
    with pytest.raises(DataError) as error:
        read_pairs(path)
    return str(error.value)


@pytest.mark.parametrize(
    ("row", "nearest", "mapping"),
    [
        ({"question": "Sky?", "good_answer": "Blue.", "bad_answer": "Green."}, "trl",
         {"prompt": "question", "chosen": "good_answer", "rejected": "bad_answer"}),
        ({"prompt": "Sky?", "answers": ["Blue.", "Green."], "ratings": [2, 1]}, "ranked",
         {"completions": "answers", "scores": "ratings"}),
        ({"prompt": "Sky?", "answer": "Blue.", "thumbs": True}, "unpaired",
         {"completion": "answer", "label": "thumbs"}),
        ({"prompt": "Sky?", "reply_left": "Blue.", "reply_right": "Green.", "vote": "left"}, "two_sides",
         {"response_a": "reply_left", "response_b": "reply_right"}),
        ({"x": "Sky?", "y": "Blue."}, "trl", {}),
    ],
)  # fmt: skip
def test_a_table_of_texts_gets_a_format_of_texts(tmp_path, row, nearest, mapping):
    text = message(jsonl(tmp_path / "a.jsonl", [row]))
    assert f"The nearest, {nearest} (" in text
    assert all(f"{expected}: {name}" in text for expected, name in mapping.items())
    assert "file_name" not in text and "jpg_0" not in text
    if mapping:
        assert read_pairs(tmp_path / "a.jsonl", columns=mapping).format == nearest


def test_a_table_of_files_or_bytes_gets_a_format_of_images(tmp_path):
    for name in "ab":
        (tmp_path / f"{name}.png").write_bytes(image(ord(name)))
    text = message(jsonl(tmp_path / "a.jsonl", [{"caption": "a fox", "winner_file": "a.png", "loser_file": "b.png"}]))
    assert "The nearest, pair_folder (" in text and "completion, label" not in text
    mapping = {"prompt": "caption", "chosen_file_name": "winner_file", "rejected_file_name": "loser_file"}
    assert all(f"{expected}: {name}" in text for expected, name in mapping.items())
    assert read_pairs(tmp_path / "a.jsonl", columns=mapping).pairs[0].chosen.name == "a.png"
    row = {"caption": "a fox", "img_0": image(1), "img_1": image(2), "votes": 1.0}
    assert "completion, label" not in message(parquet(tmp_path / "a.parquet", [row]))


def test_what_the_message_says_to_type_works(tmp_path):
    from typer.testing import CliRunner

    from diffalign.cli import app

    with (tmp_path / "a.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["question", "good", "bad"], ["Sky? ", "Blue.", "Green."]])
    runner = CliRunner()
    first = runner.invoke(app, ["data", "check", str(tmp_path / "a.csv")])
    typed = message(tmp_path / "a.csv").split('--option "')[1].split('"')[0]
    again = runner.invoke(app, ["data", "check", str(tmp_path / "a.csv"), "--option", typed])
    assert first.exit_code and not again.exit_code, again.output
