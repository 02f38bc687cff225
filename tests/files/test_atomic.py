"""Writing: whole or not at all."""

import pytest

from diffalign.errors import RunError
from diffalign.files.atomic import replace_folder, write_atomically


def broken(path):
    (path / "half" if path.is_dir() else path).write_text("half")
    raise KeyboardInterrupt


def test_an_interrupted_write_leaves_the_old_file_unchanged(tmp_path):
    target = write_atomically(tmp_path / "deep" / "file.txt", lambda path: path.write_text("old"))
    with pytest.raises(KeyboardInterrupt):
        write_atomically(target, broken)
    assert target.read_text() == "old" and list(target.parent.iterdir()) == [target]


def test_a_folder_is_replaced_as_a_whole_and_files_of_others_stay(tmp_path):
    target = replace_folder(tmp_path / "model", lambda path: (path / "a").write_text("1"))
    with pytest.raises(KeyboardInterrupt):
        replace_folder(target, broken)
    assert [item.name for item in target.iterdir()] == ["a"]
    replace_folder(target, lambda path: (path / "b").write_text("2"))
    assert sorted(item.name for item in target.iterdir()) == ["a", "b"] and list(tmp_path.iterdir()) == [target]
    (target / "notes").mkdir()
    (target / "notes" / "mine.txt").write_text("mine")
    replace_folder(target, lambda path: ((path / "notes").mkdir(), (path / "b").write_text("3")))
    assert (target / "notes" / "mine.txt").read_text() == "mine" and (target / "b").read_text() == "3"


def test_the_old_folder_comes_back_when_the_new_one_cannot_take_its_place(tmp_path, monkeypatch):
    import os

    target = replace_folder(tmp_path / "model", lambda path: (path / "a").write_text("1"))
    real, calls = os.replace, []

    def second_fails(source, goal):
        calls.append(goal)
        if len(calls) == 2:
            raise OSError(5, "input/output error")
        real(source, goal)

    monkeypatch.setattr(os, "replace", second_fails)
    with pytest.raises(RunError, match=r"input/output.*disk reports an error"):
        replace_folder(target, lambda path: (path / "b").write_text("2"))
    assert [item.name for item in target.iterdir()] == ["a"]


@pytest.mark.parametrize(
    "error", [OSError(28, "No space left on device"), RuntimeError("I/O error: No space left (os error 28)")]
)
def test_a_full_disk_is_an_error_in_plain_words(tmp_path, error):
    def full(path):
        raise error

    with pytest.raises(RunError, match="disk is full"):
        write_atomically(tmp_path / "file", full)


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    def denied(path):
        raise PermissionError(13, "Permission denied")

    with pytest.raises(RunError, match="may write to"):
        write_atomically(tmp_path / "file", denied)
