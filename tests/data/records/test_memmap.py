"""Claims about many pairs: they lie on the disk, come back as they were, and cost no memory."""

import json
import random
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diffalign.data.readers import read_pairs
from diffalign.data.records import memmap
from diffalign.data.records.conversation import Conversation
from diffalign.data.records.lazy_pairs import LazyPairs, concat_pairs, filter_pairs, map_pairs
from diffalign.data.records.memmap import MappedPairs, collect
from diffalign.data.records.pair import Pair
from diffalign.data.records.score_table import ScoreTable, with_scores
from diffalign.data.storage.hash_set import HashSet
from diffalign.data.storage.lazy_table_cell import TableCell
from diffalign.errors import DataError
from tests.data.fixtures import jsonl, turns, ultrafeedback

ROOT = Path(__file__).parents[3]
SLACK = 8 * 2**20


def some_pairs(count: int = 40) -> list[Pair]:
    talk = Conversation.of(turns("Sky?"))
    odd = [
        Pair("talk", talk, Conversation.of(turns("Blue", first="assistant")), None, desirable=False),
        Pair("file", "p", Path("a.png"), Path("b.png"), 0.75, {"pair": {"margin": 1.5}}, "set:1"),
        Pair("cell", "p", TableCell("a.parquet", "jpg_0", 3), TableCell("a.parquet", "jpg_1", 3)),
        Pair("lone surrogate \ud800", "", "\0", "\U0001f600"),
    ]
    return [*odd, *(Pair(str(n), f"q{n}", "a" * n, f"b{n}") for n in range(count))]


def test_mapped_pairs_come_back_as_they_were():
    pairs = some_pairs()
    mapped = MappedPairs(iter(pairs))
    assert len(mapped) == len(pairs) and list(mapped) == pairs
    assert [mapped[n] for n in (5, -1, 0)] == [pairs[5], pairs[-1], pairs[0]]
    assert (
        list(mapped[3:30:4]) == pairs[3:30:4]
        and list(mapped[::-1]) == pairs[::-1]
        and list(mapped[2:][1:3]) == pairs[3:5]
    )
    assert list(reversed(mapped)) == pairs[::-1] and pairs[7] in mapped
    for index in (len(pairs), -len(pairs) - 1):
        with pytest.raises(IndexError):
            mapped[index]
    assert len(MappedPairs([])) == 0 and list(MappedPairs([])) == []


def test_a_slice_of_mapped_pairs_reads_nothing_before_it_is_indexed(monkeypatch):
    mapped = MappedPairs(some_pairs())
    monkeypatch.setattr(MappedPairs, "at", lambda self, index: pytest.fail("read"))
    assert len(mapped[10:20]) == 10


def test_few_pairs_stay_in_a_list_and_many_go_to_the_disk():
    pairs = some_pairs()
    assert collect(iter(pairs), max_in_list=len(pairs)) == pairs
    assert isinstance(many := collect(iter(pairs), max_in_list=len(pairs) - 1), MappedPairs) and list(many) == pairs


def test_a_full_disk_is_an_error_with_a_fix(monkeypatch):
    class Full:
        def write(self, data):
            raise OSError(28, "No space left on device")

    mapped = MappedPairs([])
    with pytest.raises(DataError, match="No space left.*TMPDIR=FOLDER"):
        mapped._write(Full(), iter(some_pairs()))


@pytest.mark.parametrize("lazy", [False, True])
def test_functions_of_many_pairs_are_lazy_and_give_the_same_pairs(lazy):
    pairs = some_pairs()
    given_pairs = MappedPairs(pairs) if lazy else pairs

    def shout(pair: Pair) -> Pair:
        return Pair(pair.id + "!", pair.prompt, pair.chosen, None)

    made = [
        (map_pairs(given_pairs, shout), [shout(pair) for pair in pairs]),
        (filter_pairs(given_pairs, lambda pair: pair.desirable), [pair for pair in pairs if pair.desirable]),
        (concat_pairs(given_pairs, pairs[:2]), pairs + pairs[:2]),
        (concat_pairs(pairs[:2], given_pairs), pairs[:2] + pairs),
    ]
    for found, expected in made:
        assert isinstance(found, LazyPairs) == lazy and list(found) == expected and found[-1] == expected[-1]


def test_a_reader_puts_many_pairs_on_the_disk_with_limits_and_scores(tmp_path, monkeypatch):
    table = jsonl(tmp_path / "a.jsonl", [ultrafeedback(n) for n in range(30)])
    listed = read_pairs(table)
    monkeypatch.setattr(memmap.collect, "__defaults__", (10,))
    dataset = read_pairs(table)
    assert isinstance(dataset.pairs, MappedPairs) and list(dataset.pairs) == listed.pairs
    assert dataset.summary() == listed.summary() and dataset.ranges == listed.ranges
    assert list(read_pairs(table, limit=20).pairs) == listed.pairs[:20]
    scores = ScoreTable("length", {pair.id: (2.0, 1.0) for pair in listed.pairs}, 1.0, 2.0)
    judged = with_scores(dataset, [scores])
    assert isinstance(judged.pairs, LazyPairs) and list(judged.pairs) == with_scores(listed, [scores]).pairs


@given(st.lists(st.text(max_size=3)))
def test_distinct_texts_are_counted_as_a_set_counts_them(texts):
    seen, expected = HashSet(), set()
    for text in texts:
        assert seen.add(text) == (text not in expected)
        expected.add(text)
    assert len(seen) == len(expected)


def test_distinct_texts_grow_beyond_their_first_table():
    seen = HashSet()
    assert all(seen.add(str(n)) for n in range(5000)) and not any(seen.add(str(n)) for n in range(5000))
    assert len(seen) == 5000


def write_rows(path: Path, count: int) -> Path:
    """Conversations of about a kilobyte, all different."""
    page = " ".join(f"word{n}" for n in random.Random(0).choices(range(500), k=400))
    line = json.dumps({"prompt": "N Q", "chosen": turns("N Q", "N A"), "rejected": turns("N Q", "N B")})
    with path.open("w") as file:
        for number in range(count):
            question, good, bad = (page[at % 2000 :][:300] for at in (number, 3 * number + 1, 7 * number + 2))
            row = line.replace("N", str(number)).replace("Q", question).replace("A", good).replace("B", bad)
            file.write(row + "\n")
    return path


def peak(path: Path, *steps: str) -> int:
    """Bytes that a process of its own needed at most for this data set."""
    command = [sys.executable, "-m", "tests.data.memory", str(path), *steps]
    return int(subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout.split()[1])


needs_proc = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read from /proc")


@needs_proc
def test_four_times_the_pairs_need_no_more_memory(tmp_path):
    few, many = (peak(write_rows(tmp_path / f"{n}.jsonl", n), "all", "random") for n in (10_000, 40_000))
    assert many - few < SLACK, f"{few:,} bytes for 10,000 pairs, {many:,} for 40,000"


@needs_proc
@pytest.mark.long
@pytest.mark.timeout(1200)
def test_a_hundred_thousand_pairs_are_read_checked_and_made_a_data_set_in_the_memory_of_ten_thousand(tmp_path):
    few, many = (peak(write_rows(tmp_path / f"{n}.jsonl", n), "all", "check", "source") for n in (10_000, 100_000))
    assert many - few < SLACK, f"{few:,} bytes for 10,000 pairs, {many:,} for 100,000"
