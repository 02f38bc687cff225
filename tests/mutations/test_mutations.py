"""The mutations themselves: the same for the same seed, of every kind, and a trial that sees faults."""

import pytest

from diffalign.errors import UserError
from tests.mutations import mutated_bytes, mutated_folders, mutated_json, mutated_values, mutated_yaml, try_all
from tests.mutations.file_bytes import MUTATIONS
from tests.mutations.folders import FAULTS

VALUE = {"model": {"path": "x", "rank": 4}, "steps": 3, "tags": ["a", "b"]}


@pytest.mark.parametrize("make", [mutated_values, mutated_json, mutated_yaml])
def test_equal_seeds_make_equal_mutations_and_leave_the_value_alone(make):
    first, again, other = ([repr(item) for item in make(VALUE, 60, seed=seed)] for seed in (1, 1, 2))
    assert first == again and first != other and len(first) == 60
    assert VALUE == {"model": {"path": "x", "rank": 4}, "steps": 3, "tags": ["a", "b"]}


def test_bytes_are_mutated_in_every_way():
    made = list(mutated_bytes(b"a: 1\nb: 2\n" * 9, 5 * len(MUTATIONS), seed=0))
    assert {name.rpartition(" (")[0] for name, _ in made} == set(MUTATIONS)
    assert sum(content != b"a: 1\nb: 2\n" * 9 for _, content in made) > 4 * len(MUTATIONS)
    assert made == list(mutated_bytes(b"a: 1\nb: 2\n" * 9, 5 * len(MUTATIONS), seed=0))


def test_folders_are_copies_with_one_fault(tmp_path):
    good, copies = tmp_path / "good", tmp_path / "copies"
    (good / "sub").mkdir(parents=True)
    copies.mkdir()
    for name in ("a.json", "b.bin", "sub/c.txt"):
        (good / name).write_text(name * 9)
    seen = set()
    for name, folder in mutated_folders(good, copies, 3 * len(FAULTS), seed=0):
        seen.add(name.partition(": ")[2].rpartition(" (")[0])
        assert not folder.is_dir() or len(list(folder.iterdir())) in (2, 3)
    assert seen == set(FAULTS) and not list(copies.iterdir())
    assert {path.read_text() for path in good.rglob("*.*")} == {name * 9 for name in ("a.json", "b.bin", "sub/c.txt")}


class LongError(Exception):
    """Unlike a UserError it prints whatever it is given."""


def _answer(given):
    match given:
        case "refused":
            raise UserError("no such thing. Type: yes")
        case "traceback":
            raise KeyError("x")
        case "pages":
            raise LongError("x" * 100_000)
        case "colour":
            raise LongError("there is no \x1b[31mred")
        case "exit":
            raise SystemExit(1)
        case "silent":
            raise UserError("")


def test_a_trial_tells_what_became_of_each_input():
    names = ("read", "refused", "traceback", "pages", "colour", "exit", "silent")
    trial = try_all("words", _answer, [(name, name) for name in names], errors=(UserError, LongError))
    assert trial.read == ["1: read"] and list(trial.refused) == ["2: refused"]
    assert [name[3:] for name in trial.faults] == ["traceback", "pages", "colour", "exit", "silent"]
    assert "7 mutated words: 1 read, 1 refused in a sentence, 5 faults" in trial.report()
    assert "KeyError" in trial.report()
    with pytest.raises(AssertionError, match="KeyError"):
        trial.check()


def test_a_trial_in_which_everything_is_read_fails():
    with pytest.raises(AssertionError, match="refused"):
        try_all("words", _answer, [("read", "read")]).check()


def test_slow_readers_are_faults():
    trial = try_all("words", _answer, [("read", "read")], seconds=-1.0)
    assert list(trial.faults) == ["1: read"]
