"""A folder is written by one command at a time; the second is refused with the first one's host and process."""

import json
import os
import signal
import socket
import subprocess
import sys

import pytest

from diffalign.errors import RunError
from diffalign.files.folder_lock import NAME, FolderLock, fcntl, is_locked
from diffalign.training.loop import train
from tests.training.toy import ToyPolicy, toy_pairs, toy_recipe

pytestmark = pytest.mark.skipif(fcntl is None, reason="this system has no such locks")

HOLD = """
import sys, time
from diffalign.files.folder_lock import FolderLock
with FolderLock(sys.argv[1]) as lock:
    lock.acquire()
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path):
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path / "run")], stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"held\n"
    yield process
    process.kill()
    process.wait()


def test_a_second_run_is_refused_before_work_and_the_lock_ends_with_a_killed_process(tmp_path, holder):
    folder = tmp_path / "run"
    recipe = toy_recipe(folder)
    assert is_locked(folder)
    with pytest.raises(RunError, match=f"in use by process {holder.pid} on {socket.gethostname()}"):
        train(recipe, policy=ToyPolicy(), pairs=toy_pairs())
    assert os.listdir(folder) == [NAME]
    os.kill(holder.pid, signal.SIGKILL)
    holder.wait()
    assert not is_locked(folder)
    train(recipe, policy=ToyPolicy(), pairs=toy_pairs())
    assert not (folder / NAME).exists() and (folder / "run.json").is_file()


def test_a_check_reads_beside_a_run_and_the_lock_is_given_back(tmp_path, holder):
    folder = tmp_path / "run"
    train(toy_recipe(folder), policy=ToyPolicy(), pairs=toy_pairs(), check_only=True)
    with FolderLock(folder) as second, pytest.raises(RunError, match="which writes into it now"):
        second.acquire()
    assert is_locked(folder)  # the refused one took nothing away


def test_a_lock_of_another_host_is_described_and_an_empty_folder_goes_with_its_lock(tmp_path):
    (tmp_path / NAME).write_text(json.dumps({"host": "elsewhere", "process": 12}))
    with FolderLock(tmp_path) as lock, pytest.raises(RunError, match=f"process 12 on elsewhere.*remove .*{NAME}"):
        lock.acquire()
    assert (tmp_path / NAME).exists() and not is_locked(tmp_path)
    with FolderLock(tmp_path / "new") as lock:
        lock.acquire()
        lock.acquire()
        assert json.loads((tmp_path / "new" / NAME).read_text())["process"] == os.getpid()
    assert not (tmp_path / "new").exists()


def test_what_a_strangers_lock_says_is_not_shown_to_the_terminal(tmp_path):
    for text in ('{"host": "a\\u001b[31m", "process": 1}', "{", "[1]", '{"host": "x"}', "9" * 5000):
        (tmp_path / NAME).write_text(text)
        with FolderLock(tmp_path) as lock:
            lock.acquire()  # of no known holder
        assert not (tmp_path / NAME).exists()


def test_a_table_is_locked_by_itself(tmp_path):
    with FolderLock(tmp_path, "a.jsonl") as one, FolderLock(tmp_path, "b.jsonl") as other:
        one.acquire()
        other.acquire()
        with (
            FolderLock(tmp_path, "a.jsonl") as second,
            pytest.raises(RunError, match=r"a\.jsonl' is in use by process"),
        ):
            second.acquire()
        assert sorted(os.listdir(tmp_path)) == [".a.jsonl.lock", ".b.jsonl.lock"]
    assert not os.listdir(tmp_path)


def test_a_folder_that_cannot_be_made_is_one_sentence():
    with FolderLock("/proc/none/here") as lock, pytest.raises(RunError, match="a folder above it cannot be made"):
        lock.acquire()


def test_a_folder_that_admits_no_file_is_one_sentence(tmp_path, monkeypatch):
    def refuse(path, *_):
        raise FileNotFoundError(2, "No such file or directory", str(path))

    monkeypatch.setattr(os, "open", refuse)  # as a folder of /proc does
    with FolderLock(tmp_path, "a.jsonl") as lock, pytest.raises(RunError, match="no file can be made in"):
        lock.acquire()
