"""Claims about JSON lines: any text comes back, a line ends at a line feed only, and half a character is refused."""

import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import diffalign
from diffalign.errors import DataError
from diffalign.files.json_lines import (
    intact_values,
    json_line,
    numbered_lines,
    parse_json,
    text_lines,
    write_json_lines,
)

ENDS = "\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029"
"""What ``str.splitlines`` takes for the end of a line and a file does not."""


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]) | st.sampled_from(ENDS + "\r\n")), max_size=4))
def test_any_text_comes_back_from_a_line_wherever_a_program_splits(texts):
    lines = "".join(json_line({text: text}) for text in texts)
    for split in (lines.splitlines(), lines.split("\n")[:-1]):
        assert [parse_json(line) for line in split] == [{text: text} for text in texts]


def test_a_file_of_lines_ends_them_at_line_feeds_only(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_bytes(f'{{"a": "x{ENDS[-3:]}y"}}\r\n\n  \n{{"b": 2}}'.encode("utf-8-sig"))
    assert [(number, parse_json(line)) for number, line in numbered_lines(path)] == [
        (1, {"a": f"x{ENDS[-3:]}y"}),
        (4, {"b": 2}),
    ]
    assert text_lines(path)[1] == '{"b": 2}' and list(intact_values(path))[-1] == {"b": 2}


def test_text_stays_readable_unless_utf8_cannot_hold_it(tmp_path):
    assert "ü" in json_line({"a": "ü"}) and json.loads(json_line({"a": "\ud800"})) == {"a": "\ud800"}
    write_json_lines(tmp_path / "a.jsonl", [{"a": "ü\u2028"}])
    assert (tmp_path / "a.jsonl").read_bytes() == '{"a": "ü\\u2028"}\n'.encode()


@pytest.mark.parametrize(
    "text", [r'{"a": "\ud83d"}', r'{"a": [{"b": "x\uDE00"}]}', r'{"\udfff": 1}', r'"\ude00\ud83d"']
)
def test_half_a_surrogate_pair_is_refused_and_a_whole_one_is_a_character(text):
    with pytest.raises(ValueError, match=r"\\ud[0-9a-f]{3} alone is half a surrogate pair"):
        parse_json(text)
    assert parse_json(r'"\ud83d\ude00"') == "😀"


def test_what_is_no_json_is_a_value_error_also_where_it_is_deep():
    for text in ("{", "[" * 100_000, '{"a":' * 5000, ""):
        with pytest.raises(ValueError):
            parse_json(text)
    for text in ("[" * 100_000 + "]" * 100_000, "[" * 900 + r'"\ud83d"' + "]" * 900):
        with pytest.raises(ValueError, match="deep|half"):
            parse_json(text)


def test_lines_of_a_file_that_is_not_utf8_or_is_missing_are_refused(tmp_path):
    (tmp_path / "a.txt").write_bytes("ä".encode("utf-16"))
    with pytest.raises(DataError, match=r"a\.txt' is not UTF-8"):
        text_lines(tmp_path / "a.txt")
    with pytest.raises(DataError, match=r"b\.txt' cannot be read"):
        text_lines(tmp_path / "b.txt")
    assert list(intact_values(tmp_path / "b.txt")) == []


def test_a_line_that_a_kill_cut_short_is_left_out(tmp_path):
    (tmp_path / "a.jsonl").write_bytes(b'{"a": 1}\n{"b": "\xc3')
    assert list(intact_values(tmp_path / "a.jsonl")) == [{"a": 1}]


def test_nothing_else_splits_files_into_lines_or_writes_json_lines():
    split, write = r"read_text\([^()]*\)\.split\w*\(", r"json\.dumps\((?!.*indent).*\) \+ \"\\n\"|json\.loads\(line"
    root = Path(diffalign.__file__).parent
    sources = [path for room in (root, root.parent / "pipelines") for path in room.rglob("*.py")]
    own = {"json_lines.py", "device_memory.py", "peak_growth.py"}  # the latter two read the system's own files
    assert len(sources) > 300
    assert not [path for path in sources if path.name not in own and re.search(f"{split}|{write}", path.read_text())]
