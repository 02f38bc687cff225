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


def csv_file(tmp_path, text, suffix=".csv"):
    path = tmp_path / f"a{suffix}"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_column_that_a_csv_file_has_twice_is_refused(tmp_path):
    with pytest.raises(DataError, match="has the column 'chosen' twice.* Rename one"):
        read_pairs(csv_file(tmp_path, "prompt,chosen,rejected,chosen\nq,a,b,c\n"))


def test_columns_without_names_may_be_several(tmp_path):
    assert len(read_pairs(csv_file(tmp_path, "prompt,chosen,rejected,,\nq,a,b,,\n")).pairs) == 1


def test_spaces_around_the_names_of_columns_do_not_belong_to_them(tmp_path):
    (pair,) = read_pairs(csv_file(tmp_path, "prompt, chosen , rejected\nq, a, b\n")).pairs
    assert (pair.chosen, pair.rejected) == (" a", " b")


@pytest.mark.parametrize(("mark", "suffix"), [(";", ".csv"), ("\t", ".csv"), ("|", ".csv"), (",", ".tsv")])
def test_a_file_with_another_mark_between_its_columns_is_named(tmp_path, mark, suffix):
    with pytest.raises(DataError, match="separates its columns by .*Save it with (commas|tabs)"):
        read_pairs(csv_file(tmp_path, f"prompt{mark}chosen{mark}rejected\nq{mark}a{mark}b\n", suffix))


@pytest.mark.parametrize(
    ("text", "suffix", "message"),
    [
        ("", ".jsonl", "is empty: it holds no rows"),
        ("prompt,chosen,rejected\n", ".csv", "is empty: it holds no rows"),
        (json.dumps([GOOD]), ".jsonl", r"a.jsonl:1: not a JSON object.* With one list of all rows, name it .json\."),
        (json.dumps([GOOD], indent=1), ".jsonl", r"a.jsonl:1: not JSON: .*name it .json\."),
        (json.dumps(["a", "b"]), ".json", r"a.json:1: not a JSON object"),
    ],
)
def test_a_file_without_a_readable_row_says_what_its_first_row_is(tmp_path, text, suffix, message):
    for format in ("auto", "trl"):
        with pytest.raises(DataError, match=message):
            read_pairs(csv_file(tmp_path, text, suffix), format=format)


def test_a_missing_table_in_a_folder_is_not_looked_for_on_the_hub(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own").mkdir()
    csv_file(tmp_path / "own", "prompt,chosen,rejected\nq,a,b\n")
    with pytest.raises(DataError, match="there is no data at 'own/aa.csv'. Did you mean 'a.csv'"):
        read_pairs("own/aa.csv")


def test_objects_that_hold_no_file_are_not_called_images(tmp_path):
    sides = {
        role: {"conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": role}]} for role in "ab"
    }
    path = jsonl(tmp_path / "a.jsonl", [{"chosen": sides["a"], "rejected": sides["b"]}])
    with pytest.raises(DataError, match="must be text or a list of messages; got dict"):
        read_pairs(path)
