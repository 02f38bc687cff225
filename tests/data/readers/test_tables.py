"""Claims about tables: a text that no file can hold drops its row, and a damaged file is named in a sentence."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from diffalign.data.readers import read_pairs
from diffalign.data.records.pair import BAD_ROW
from diffalign.errors import DataError
from tests.data.fixtures import jsonl

GOOD = {"prompt": "q", "chosen": "a", "rejected": "b"}
HALF = {"prompt": "q \ud83d", "chosen": "a", "rejected": "b"}
IN_TURNS = {**GOOD, "chosen": [{"role": "assistant", "content": "\ude00"}]}


@pytest.mark.parametrize("suffix", [".jsonl", ".json"])
@pytest.mark.parametrize("bad", [HALF, IN_TURNS])
def test_a_row_with_half_a_surrogate_pair_is_left_out_with_the_reason(bad, suffix, tmp_path):
    path = tmp_path / f"a{suffix}"
    path.write_text(json.dumps([GOOD, bad]) if suffix == ".json" else f"{json.dumps(GOOD)}\n{json.dumps(bad)}\n")
    data = read_pairs(path)
    assert len(data.pairs) == 1
    (dropped,) = data.dropped
    assert dropped.reason == BAD_ROW and "is half a surrogate pair" in dropped.detail


def test_whole_surrogate_pairs_and_line_separators_are_text(tmp_path):
    text = "😀\u2028b\x85c"
    path = jsonl(tmp_path / "a.jsonl", [{**GOOD, "prompt": text}])
    assert read_pairs(path).pairs[0].prompt == text
    path.write_text(json.dumps({**GOOD, "prompt": text}, ensure_ascii=False), encoding="utf-8")
    assert read_pairs(path).pairs[0].prompt == text


@pytest.mark.parametrize("suffix", [".parquet", ".arrow"])
def test_a_text_of_a_binary_table_that_is_not_utf8_drops_its_row(suffix, tmp_path):
    texts = pa.array([b"q", b"\xed\xa0\xbd", b"r"]).view(pa.string())
    table = pa.table({"prompt": texts, "chosen": ["a"] * 3, "rejected": ["b"] * 3})
    path = tmp_path / f"a{suffix}"
    if suffix == ".parquet":
        pq.write_table(table, path)
    else:
        with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, table.schema) as writer:
            writer.write_table(table)
    data = read_pairs(path)
    assert [pair.prompt for pair in data.pairs] == ["q", "r"]
    assert [(row.source, row.reason) for row in data.dropped] == [(f"a{suffix}:1", BAD_ROW)]
    assert "not UTF-8" in data.dropped[0].detail


def test_a_number_beyond_floats_is_no_score(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps(GOOD)[:-1] + ', "chosen_score": 1' + "0" * 400 + "}")
    assert read_pairs(path).pairs[0].scores == {}


def test_a_table_in_another_encoding_says_how_to_save_it(tmp_path):
    for suffix in (".jsonl", ".json", ".csv"):
        (tmp_path / f"a{suffix}").write_bytes(json.dumps([GOOD]).encode("utf-16"))
        with pytest.raises(DataError, match="is not UTF-8 text .*Save it as UTF-8"):
            read_pairs(tmp_path / f"a{suffix}")
