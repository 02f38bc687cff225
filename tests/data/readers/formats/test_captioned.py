"""Claims about winners alone: how they are read, when they are recognised, and what the check says of them."""

import json

import pytest

from diffalign.data.check.run import check_pairs
from diffalign.data.readers import READERS, detect_format, read_pairs
from diffalign.data.records.pair import BAD_ROW, EMPTY_CANDIDATE, EMPTY_PROMPT, MISSING_FILE, OUTSIDE
from diffalign.errors import DataError
from tests.data.fixtures import image, jsonl, pair_folder, parquet


def image_folder(folder, count=3, prompt="text", **columns):
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        (folder / f"{number}.png").write_bytes(image(number))
    rows = [{"file_name": f"{number}.png", prompt: f"thing {number}", **columns} for number in range(count)]
    jsonl(folder / "metadata.jsonl", rows)
    return folder


@pytest.mark.parametrize("prompt", ["prompt", "caption", "text"])
def test_an_image_folder_with_captions_is_winners(tmp_path, prompt):
    folder = image_folder(tmp_path / "set", prompt=prompt, aesthetic=5.5)
    dataset = read_pairs(folder)
    assert dataset.format == "captioned" and dataset.summary().startswith("3 winners from")
    winner = dataset.pairs[1]
    assert (winner.chosen, winner.rejected, winner.prompt) == (folder / "1.png", None, "thing 1")
    assert winner.scores == {"pair": {"aesthetic": 5.5}} and winner.source == "metadata.jsonl:2"
    assert dataset.ranges == {}


def test_images_in_parquet_stay_there_until_they_are_read(tmp_path):
    rows = [{"image": {"bytes": image(n), "path": None}, "text": "a fox"} for n in range(2)]
    winners = read_pairs(parquet(tmp_path / "a.parquet", rows)).pairs
    assert [winner.chosen.read() for winner in winners] == [image(0), image(1)]
    assert len({winner.id for winner in winners}) == 2
    named = read_pairs(parquet(tmp_path / "b.parquet", [{**row, "id": f"w{n}"} for n, row in enumerate(rows)]))
    assert [winner.id for winner in named.pairs] == ["w0", "w1"]


def test_each_bad_row_is_dropped_for_its_own_reason(tmp_path):
    folder = image_folder(tmp_path / "set", 1)
    bad = [
        ({"file_name": "gone.png", "text": "p"}, MISSING_FILE),
        ({"file_name": None, "text": "p"}, MISSING_FILE),
        ({"file_name": "../secret.png", "text": "p"}, OUTSIDE),
        ({"file_name": "0.png", "text": " "}, EMPTY_PROMPT),
        ({"file_name": "0.png"}, EMPTY_PROMPT),
    ]
    with (folder / "metadata.jsonl").open("a") as file:
        file.writelines(json.dumps(row) + "\n" for row, _ in bad)
        file.write("{not json\n")
    dataset = read_pairs(folder)
    assert len(dataset) == 1 and [row.reason for row in dataset.dropped] == [*(reason for _, reason in bad), BAD_ROW]
    rows = [{"image": image(0), "text": "p"}, {"image": None, "text": "p"}]
    assert [row.reason for row in read_pairs(parquet(tmp_path / "a.parquet", rows)).dropped] == [EMPTY_CANDIDATE]


def test_ids_do_not_depend_on_the_folder_or_on_other_rows(tmp_path):
    ids = [{w.prompt: w.id for w in read_pairs(image_folder(tmp_path / str(n), n)).pairs} for n in (2, 3)]
    assert ids[0].items() < ids[1].items()


@pytest.mark.parametrize("name", [name for name in READERS if name not in ("captioned", "implicit")])
def test_no_pair_format_is_mistaken_for_winners(tmp_path, name):
    row = dict.fromkeys((*READERS[name].required, "file_name", "image", "text", "caption", "prompt"), "x")
    assert detect_format(parquet(tmp_path / "a.parquet", [row])) == name


@pytest.mark.parametrize("column", ["label", "rank", "rejected"])
def test_rows_that_may_not_be_winners_need_the_format_named(tmp_path, column):
    folder = image_folder(tmp_path / "set", **{column: 1})
    with pytest.raises(DataError, match=f"also '{column}'.*give format captioned"):
        read_pairs(folder)
    assert len(read_pairs(folder, format="captioned")) == 3


def test_a_pair_folder_with_two_misspelt_columns_is_not_taken_for_captions(tmp_path):
    row = {"prompt": "p", "chosen_filename": "a.png", "rejected_filename": "b.png"}
    with pytest.raises(DataError, match="needs.*'chosen_file_name'|lacks the columns 'chosen_file_name'"):
        read_pairs(jsonl(tmp_path / "a.jsonl", [row]))
    with pytest.raises(DataError, match="The nearest, captioned .*lacks the column 'prompt'"):
        read_pairs(jsonl(tmp_path / "b.jsonl", [{"file_name": "a.png", "size": 3}]))


def test_the_check_looks_at_winners(tmp_path):
    folder = image_folder(tmp_path / "set", 4)
    report = check_pairs(read_pairs(folder), resolution=16)
    assert report.findings == [] and report.facts["winners"] == "4, 4 distinct prompts"
    assert "labels" not in report.facts and report.facts["candidates"].startswith("4 distinct")
    (folder / "1.png").write_bytes(b"nothing")
    with (folder / "metadata.jsonl").open("a") as file:
        file.write(json.dumps({"file_name": "0.png", "text": "thing 0"}) + "\n")
    found = {finding.what: finding for finding in check_pairs(read_pairs(folder), resolution=17).findings}
    assert found["candidates that cannot be read"].count == 1
    assert found["pairs that repeat another"].count == 1
    assert found["pairs with an image smaller than 17 pixels"].count == 4


def test_winners_and_pairs_are_checked_for_shared_candidates(tmp_path):
    winners = read_pairs(image_folder(tmp_path / "winners", 1))
    pairs = read_pairs(pair_folder(tmp_path / "pairs", 1))
    for one, other in ((winners, pairs), (pairs, winners)):
        found = {finding.what: finding.count for finding in check_pairs(one, other).findings}
        assert found["candidates in both the training and the evaluation set"] == 1
