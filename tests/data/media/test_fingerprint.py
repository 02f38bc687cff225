"""The fingerprint of data: equal for equal content wherever it lies, another for any change that training could see."""

import os
import shutil
from dataclasses import replace

import pytest
from PIL import Image

from diffalign.data.media.fingerprint import DataFingerprint, describe_change
from diffalign.data.readers import read_pairs
from diffalign.data.records.conversation import Conversation
from diffalign.data.records.pair import Answer, Pair
from tests.training.toy import toy_pairs

RANGES = {"judge": (0.0, 1.0)}


def change(old, new, ranges=RANGES):
    before, after = DataFingerprint.of(old, RANGES), DataFingerprint.of(new, ranges)
    return describe_change(before, after, lambda count: DataFingerprint.of(new[:count], ranges))


def test_equal_rows_have_equal_fingerprints_also_from_storage():
    one, other = DataFingerprint.of(toy_pairs(), RANGES), DataFingerprint.of(tuple(toy_pairs()), dict(RANGES))
    assert one == other == DataFingerprint.from_dict(one.as_dict()) and one.rows == 12
    for values in ({}, None, {**one.as_dict(), "rows": "12"}, {**one.as_dict(), "more": 1}):
        with pytest.raises(ValueError, match="expected rows, ordered"):
            DataFingerprint.from_dict(values)


@pytest.mark.parametrize(
    "changes",
    [
        {"id": "other"},
        {"prompt": "other"},
        {"prompt": Conversation.of([{"role": "user", "content": "prompt 3"}])},
        {"chosen": "other"},
        {"rejected": b"other"},
        {"rejected": None},
        {"rejected": None, "desirable": False},
        {"rejected_prompt": "other"},
        {"further": {"gold": Answer("better")}},
    ],
)
def test_a_change_of_any_content_is_seen(changes):
    rows = toy_pairs()
    assert change(rows, rows) == ""
    rows[3] = replace(rows[3], **changes)
    assert change(toy_pairs(), rows) == "prompts, candidates or ids among its 12 rows changed"


@pytest.mark.parametrize(
    "changes", [{"probability": 0.9}, {"scores": {"chosen": {"judge": 1.0}}}, {"group": "a"}, {"scores": {"pair": {}}}]
)
def test_a_change_of_numbers_is_named_as_such(changes):
    rows = toy_pairs()
    rows[3] = replace(rows[3], **changes)
    assert change(toy_pairs(), rows) == "scores, probabilities, groups or weights of frames of its 12 rows changed"


def test_the_message_says_what_became_of_the_rows():
    rows = toy_pairs()
    found = change(rows, rows, {"judge": (0.0, 2.0)})
    assert found == "scores, probabilities, groups or weights of frames of its 12 rows changed"
    assert change(rows, rows[::-1]) == "its 12 rows are in another order"
    assert change(rows[:7], rows) == "5 rows were added after the first 7"
    assert change(rows[1:], rows) == "there were 11 rows, and there are 12 now"
    assert change(rows, rows[:7]) == "there were 12 rows, and there are 7 now"


def test_where_a_row_came_from_does_not_matter():
    rows = [replace(pair, source=f"elsewhere:{number}") for number, pair in enumerate(toy_pairs())]
    assert change(toy_pairs(), rows) == ""


def test_images_count_by_content_not_by_path_name_or_time(tmp_path):
    first = tmp_path / "first"
    first.mkdir()
    for name, colour in (("w.png", "red"), ("l.png", "blue")):
        Image.new("RGB", (8, 8), colour).save(first / name)
    (first / "metadata.jsonl").write_text(
        '{"prompt": "a", "chosen_file_name": "w.png", "rejected_file_name": "l.png"}\n'
    )
    second = tmp_path / "deeper" / "second"
    shutil.copytree(first, second)
    os.utime(second / "w.png", (1, 1))
    old = read_pairs(str(first)).pairs
    assert change(old, read_pairs(str(second)).pairs) == ""
    Image.new("RGB", (8, 8), "green").save(second / "l.png")
    assert change(old, read_pairs(str(second)).pairs) == "prompts, candidates or ids among its 1 rows changed"


def test_a_changed_file_is_read_again_and_an_unchanged_one_is_not(tmp_path, monkeypatch):
    from diffalign.data.media import decode

    path, reads = tmp_path / "a.png", []
    path.write_bytes(b"one")
    real = decode.media_bytes
    monkeypatch.setattr(decode, "media_bytes", lambda media: reads.append(media) or real(media))
    first = decode.media_digest(path)
    assert decode.media_digest(path) == first == decode.media_digest(b"one") and reads.count(path) == 1
    path.write_bytes(b"two!")
    assert decode.media_digest(path) == decode.media_digest(b"two!") != first


def test_long_data_reports_its_progress():
    seen = []
    rows = [Pair(str(k), "p", "a", "b") for k in range(2500)]
    DataFingerprint.of(rows, progress=lambda *values: seen.append(values))
    assert seen == [("read pairs", 1000, 2500), ("read pairs", 2000, 2500), ("read pairs", 2500, 2500)]
