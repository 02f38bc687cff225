"""Claims about images that cannot be decoded: their rows are left out where that is wanted, with the reason."""

import pytest

from diffalign.data.media.clips.frame_rule import FrameRule
from diffalign.data.media.clips.write_clip import encode_clip
from diffalign.data.readers import read_pairs
from diffalign.data.records.pair import BAD_CLIP, BAD_IMAGE, EMPTY_CANDIDATE
from diffalign.errors import DataError
from tests.data.clips import noise
from tests.data.fixtures import image, parquet, vote

BROKEN = image(8, size=(64, 64), format="JPEG")[:200]


def test_rows_with_unreadable_images_are_left_out_with_the_reason(tmp_path):
    rows = [vote(0), vote(1, jpg_1=BROKEN), vote(2, jpg_0=b"no image"), vote(3, jpg_0=None), vote(4)]
    path = parquet(tmp_path / "a.parquet", rows)
    assert len(read_pairs(path)) == 5  # no image is opened
    data = read_pairs(path, bad_images="drop")
    assert [pair.source for pair in data.pairs] == ["a.parquet:0", "a.parquet:4"]
    assert [(row.source, row.reason) for row in data.dropped] == [(f"a.parquet:{n}", BAD_IMAGE) for n in (1, 2, 3)]
    assert all(
        word in row.detail.lower() for word, row in zip(("truncated", "unknown", "empty"), data.dropped, strict=True)
    )
    assert "3 unreadable image" in data.summary()


def test_an_empty_cell_of_rows_without_ids_drops_its_row_only(tmp_path):
    rows = [{name: vote(n)[name] for name in ("jpg_0", "jpg_1", "label_0", "caption")} for n in range(3)]
    rows[1]["jpg_1"] = None
    data = read_pairs(parquet(tmp_path / "a.parquet", rows))
    assert len(data) == 2 and [(row.source, row.reason) for row in data.dropped] == [("a.parquet:1", EMPTY_CANDIDATE)]


def test_clips_are_decoded_and_texts_are_not(tmp_path):
    film = encode_clip(noise(3))
    rows = [
        {"prompt": "p", "chosen": film, "rejected": encode_clip(noise(3, seed=1))},
        {"prompt": "p", "chosen": image(), "rejected": b"x"},
        {"prompt": "p", "chosen": b"\0\0\0\x18ftypisom" + bytes(40), "rejected": film},
    ]
    data = read_pairs(parquet(tmp_path / "a.parquet", rows), bad_images="drop")
    assert len(data) == 1 and [row.reason for row in data.dropped] == [BAD_IMAGE, BAD_CLIP]
    assert "a.parquet:2:chosen' cannot be decoded" in data.dropped[1].detail
    texts = parquet(tmp_path / "b.parquet", [{"prompt": "p", "chosen": "a", "rejected": "b"}])
    assert len(read_pairs(texts, bad_images="drop")) == 1


def test_clips_that_are_too_short_for_the_rule_are_left_out_and_counted(tmp_path):
    rows = [{"prompt": "p", "chosen": encode_clip(noise(8)), "rejected": encode_clip(noise(n, seed=1))} for n in (8, 5)]
    path = parquet(tmp_path / "a.parquet", rows)
    data = read_pairs(path, bad_images="drop", frames=FrameRule(frames=8))
    assert len(data) == 1 and "give 5 of 8" in data.dropped[0].detail
    assert "dropped 1: 1 unreadable clip" in data.summary()
    assert len(read_pairs(path, bad_images="drop", frames=FrameRule(frames=8, short="hold"))) == 2


def test_a_picture_is_left_out_where_clips_are_needed_and_kept_elsewhere(tmp_path):
    film = encode_clip(noise(8))
    rows = [{"prompt": "p", "chosen": film, "rejected": other} for other in (encode_clip(noise(8, seed=1)), image())]
    path = parquet(tmp_path / "a.parquet", rows)
    data = read_pairs(path, bad_images="drop", frames=FrameRule(frames=8))
    assert len(data) == 1 and "one picture; a clip has at least two frames" in data.dropped[0].detail
    assert len(read_pairs(path, bad_images="drop")) == 2


def test_another_word_for_it_is_refused(tmp_path):
    with pytest.raises(DataError, match="bad_images is error or drop"):
        read_pairs(parquet(tmp_path / "a.parquet", [vote(0)]), bad_images="skip")
