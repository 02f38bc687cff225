"""Memory and disks run out in one sentence, whatever a run is doing, and the last good state stays."""

import errno
import importlib

import pytest
import torch

from diffalign.devices.out_of_memory import explain_out_of_memory, is_out_of_memory
from diffalign.devices.processes import is_lost_process
from diffalign.errors import RunError
from diffalign.training.loop import train
from diffalign.training.setup.assemble_run import open_run
from diffalign.training.storage import checkpoint
from diffalign.training.storage.run_folder import RunFolder
from tests.training.test_resume import metrics
from tests.training.toy import ToyPolicy, toy_pairs, toy_recipe

CPU = (
    "[enforce fail at alloc_cpu.cpp:118] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to allocate 9"
)
MEMORY = [MemoryError(), torch.OutOfMemoryError("CUDA out of memory"), RuntimeError(CPU)]
FULL = OSError(errno.ENOSPC, "No space left on device")
READ_ONLY = OSError(errno.EROFS, "Read-only file system")


class Failing(ToyPolicy):
    """Raises an error in one of its methods."""

    def __init__(self, error, **where):
        super().__init__()
        self.error, self.where = error, where

    def _fail(self, method):
        self.where[method] = self.where.get(method, 0) - 1
        if self.where[method] == 0:
            raise self.error

    def prepare(self, pairs, progress):
        self._fail("prepare")
        return super().prepare(pairs, progress)

    def sample(self, prompts, seeds, **settings):
        self._fail("sample")
        return super().sample(prompts, seeds, **settings)

    def make_candidates(self, *arguments, **settings):
        self._fail("make_candidates")
        return super().make_candidates(*arguments, **settings)

    def save(self, folder, about):
        self._fail("save")
        return super().save(folder, about)

    def logps(self, encoded, draw):
        self._fail("logps")
        return super().logps(encoded, draw)


@pytest.mark.parametrize("error", MEMORY, ids=["machine", "accelerator", "CPU allocator"])
def test_every_way_to_say_out_of_memory_is_recognised(error):
    assert is_out_of_memory(error) and not is_out_of_memory(RuntimeError("shapes differ"))
    with (
        pytest.raises(RunError, match="out of memory while pairs are read. Type: --x"),
        explain_out_of_memory("pairs are read", "Type: --x"),
    ):
        raise error
    with pytest.raises(ValueError, match="other"), explain_out_of_memory("pairs are read", "Type: --x"):
        raise ValueError("other")


@pytest.mark.parametrize("error", MEMORY, ids=["machine", "accelerator", "CPU allocator"])
@pytest.mark.parametrize(
    ("method", "said", "more"),
    [
        ("prepare", "while the pairs are encoded", {}),
        ("make_candidates", r"while candidates are sampled.*--resume --set pairs\.batch=4", {"pairs": "checkpoint"}),
        ("save", "while the result is written.*--resume", {}),
    ],
)
def test_parts_of_a_run_that_run_out_of_memory_say_so_in_one_sentence_and_it_goes_on(
    tmp_path, method, said, more, error
):
    if more:
        more = {"pairs": {"name": "checkpoint", "every": 5, "steps": 2}, "data": {"train": "memory"}}
    with pytest.raises(RunError, match=f"out of memory {said}"):
        train(toy_recipe(tmp_path, **more), policy=Failing(error, **{method: 1}), pairs=toy_pairs())
    result = train(toy_recipe(tmp_path, **more), policy=ToyPolicy(), pairs=toy_pairs(), resume=True)
    assert result.steps == 10 and result.artifact.is_file()


@pytest.mark.parametrize("error", MEMORY, ids=["machine", "accelerator", "CPU allocator"])
def test_a_run_without_memory_for_previews_goes_on_without_them(tmp_path, capsys, error):
    previews = {"prompts": ["a fox"], "every": 5, "steps": 2}
    train(toy_recipe(tmp_path / "a", previews=previews), policy=Failing(error, sample=2), pairs=toy_pairs())
    assert "warning: out of memory while previews are sampled at step 5" in capsys.readouterr().err
    train(toy_recipe(tmp_path / "b", previews=previews), policy=ToyPolicy(), pairs=toy_pairs())
    assert metrics(tmp_path / "a") == metrics(tmp_path / "b")


def test_a_step_that_runs_out_of_the_machines_memory_is_halved_as_on_an_accelerator(tmp_path, capsys):
    train(toy_recipe(tmp_path), policy=Failing(RuntimeError(CPU), logps=3), pairs=toy_pairs())
    assert "out of memory: micro-batches of 2 pairs from now on" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (FULL, "the disk is full"),
        (RuntimeError("I/O error: No space left on device (os error 28)"), "the disk is full"),
        (READ_ONLY, "Read-only file system.*may write to"),
        (RuntimeError("I/O error: Read-only file system (os error 30)"), "may write to"),
        (OSError(errno.EIO, "Input/output error"), "the disk reports an error"),
        (MemoryError(), "out of memory while the checkpoint of step 10 is written"),
    ],
)
def test_a_checkpoint_that_cannot_be_written_leaves_the_one_before(tmp_path, monkeypatch, error, said):
    real = checkpoint.save_file

    def second_fails(tensors, path):
        if "step-00000010" in str(path):
            path.write_bytes(b"half")
            raise error
        real(tensors, path)

    monkeypatch.setattr(checkpoint, "save_file", second_fails)
    with pytest.raises(RunError, match=said) as caught:
        train(toy_recipe(tmp_path / "a"), policy=ToyPolicy(), pairs=toy_pairs())
    if not isinstance(error, MemoryError):
        assert "the checkpoint of step 5 is intact, and the run goes on from there with --resume" in str(caught.value)
    left = sorted(path.name for path in (tmp_path / "a" / "checkpoints").iterdir())
    assert left == ["step-00000000", "step-00000005"]  # nothing half-written
    monkeypatch.setattr(checkpoint, "save_file", real)
    train(toy_recipe(tmp_path / "a"), policy=ToyPolicy(), pairs=toy_pairs(), resume=True)
    train(toy_recipe(tmp_path / "b"), policy=ToyPolicy(), pairs=toy_pairs())
    assert metrics(tmp_path / "a") == metrics(tmp_path / "b")


def test_metrics_that_cannot_be_written_stop_the_run_in_one_sentence(tmp_path):
    class Blocking(ToyPolicy):
        def prepare(self, pairs, progress):
            (tmp_path / "metrics.jsonl").mkdir()
            return super().prepare(pairs, progress)

    with pytest.raises(RunError, match=r"metrics\.jsonl could not be written.*in the way"):
        train(toy_recipe(tmp_path), policy=Blocking(), pairs=toy_pairs())


def test_an_output_that_is_a_file_or_cannot_be_written_is_refused_before_anything_is_read(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("mine")
    for output in (tmp_path / "file", tmp_path / "file" / "run"):
        with pytest.raises(RunError, match=r"needs a folder, but '.*file' is none.*--set output="):
            train(toy_recipe(output), policy=ToyPolicy(), pairs=toy_pairs(), check_only=True)
    monkeypatch.setattr("os.access", lambda path, mode: False)
    with pytest.raises(RunError, match="is read-only.*--set output="):
        train(toy_recipe(tmp_path / "run"), policy=ToyPolicy(), pairs=toy_pairs(), check_only=True)
    assert (tmp_path / "file").read_text() == "mine" and not (tmp_path / "run").exists()


@pytest.mark.parametrize("error", MEMORY, ids=["machine", "accelerator", "CPU allocator"])
def test_every_command_that_runs_out_of_memory_ends_with_one_sentence(monkeypatch, capsys, error):
    def fail():
        raise error

    cli_app = importlib.import_module("diffalign.cli.app")
    monkeypatch.setattr(cli_app, "app", fail)
    with pytest.raises(SystemExit) as ended:
        cli_app.run()
    assert ended.value.code == 2 and capsys.readouterr().err.startswith("error: out of memory. Give a smaller --batch")


@pytest.mark.parametrize("name", ["policy.safetensors", "optimizer.safetensors", "ema.safetensors", "state.json"])
def test_one_flipped_bit_in_a_checkpoint_is_found_and_the_run_resumes_from_the_one_before(tmp_path, capsys, name):
    def run(folder, **options):
        return train(toy_recipe(folder), policy=ToyPolicy(), pairs=toy_pairs(), **options)

    whole, broken = run(tmp_path / "whole"), tmp_path / "broken"
    run(broken)
    first, last = RunFolder(broken).own_checkpoints()
    content = bytearray((last / name).read_bytes())
    content[len(content) // 2] ^= 1  # the size stays
    (last / name).write_bytes(content)
    capsys.readouterr()
    resumed = run(broken, resume=True)
    shown = capsys.readouterr().err
    assert "passed over" in shown and "resumed after step 5" in shown
    assert len(list(last.parent.glob("step-00000010*"))) == 2 - (name == "state.json")  # nothing is removed
    states = [result.policy.state() for result in (whole, resumed)]
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])


def test_a_rollback_passes_a_damaged_checkpoint_over_and_says_when_none_is_left(tmp_path):
    train(toy_recipe(tmp_path), policy=ToyPolicy(), pairs=toy_pairs())
    run = open_run(toy_recipe(tmp_path), ToyPolicy(), toy_pairs(), resume=True, check_only=False)
    for path, then in zip(reversed(RunFolder(tmp_path).own_checkpoints()), (5, None), strict=True):
        content = bytearray((path / "policy.safetensors").read_bytes())
        content[-1] ^= 1
        (path / "policy.safetensors").write_bytes(content)
        if then is not None:
            assert run.roll_back() == then
    with pytest.raises(RunError, match="no intact checkpoint"):
        run.roll_back()


def test_a_lost_process_is_distinguished_from_other_errors():
    gone = "[../third_party/gloo/gloo/transport/tcp/pair.cc:534] Connection closed by peer [127.0.0.1]:21005"
    assert is_lost_process(RuntimeError(gone)) and not is_lost_process(RuntimeError("shapes differ"))
