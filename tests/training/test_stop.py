"""Ctrl-C and SIGTERM: the step is finished and saved, the run says how it goes on, and goes on to the same bits."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import torch
import yaml

from diffalign.training.loop import train
from diffalign.training.stop import TRY_AGAIN, StopNow, Stopped, StopSignals, stop_signals
from diffalign.training.storage.checkpoint_folder import complete_checkpoints, is_extra, step_of
from diffalign.training.storage.run_folder import RunFolder
from tests.tiny_text import tiny_llm
from tests.training.test_resume import metrics, same
from tests.training.toy import ToyPolicy, toy_pairs, toy_recipe

ROOT = Path(__file__).parents[2]
SETTINGS = {"log__every": 3, "checkpoint__every": 5}
TYPED = [f"{key}={value}" for key, value in SETTINGS.items()]


class Interrupting(ToyPolicy):
    """Sends signals to its own process at some calls of scoring, or while it samples."""

    def __init__(self, numbers=(signal.SIGINT,), at=(), sampling=0, **switches):
        super().__init__(**switches)
        self.numbers, self.at, self.samplings = list(numbers), at, sampling

    def logps(self, encoded, draw):
        if self.calls + 1 in self.at:
            os.kill(os.getpid(), self.numbers.pop(0))
        return super().logps(encoded, draw)

    def sample(self, prompts, seeds, **settings):
        self.samplings -= 1
        if self.samplings == 0:
            os.kill(os.getpid(), self.numbers.pop(0))
        return super().sample(prompts, seeds, **settings)


def interrupted(folder, policy, exit_code=130, resume=False, **changes):
    """Trains until the policy interrupts; returns the step that the message states."""
    with pytest.raises(Stopped, match=r"stopped at step \d+; go on with --resume") as error:
        train(toy_recipe(folder, **{**SETTINGS, **changes}), policy=policy, pairs=toy_pairs(), resume=resume)
    assert error.value.exit_code == exit_code
    return int(str(error.value).split()[3].rstrip(";"))


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGUSR1, TRY_AGAIN)])
def test_a_signal_finishes_the_step_and_the_resumed_run_ends_bit_equal(tmp_path, number, code):
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    assert interrupted(tmp_path / "parts", Interrupting([number], at=(13,)), code) == 7  # two micro-batches a step
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before
    resumed, straight = ToyPolicy(), ToyPolicy()
    train(toy_recipe(tmp_path / "parts", **SETTINGS), policy=resumed, pairs=toy_pairs(), resume=True)
    train(toy_recipe(tmp_path / "straight", **SETTINGS), policy=straight, pairs=toy_pairs())
    assert resumed.seen == straight.seen[7 * 8 :]
    assert metrics(tmp_path / "parts") == metrics(tmp_path / "straight")
    same(tmp_path / "parts/checkpoints", tmp_path / "straight/checkpoints")
    kept = [path.name for path in complete_checkpoints(tmp_path / "parts/checkpoints")]
    assert kept == ["step-00000005", "step-00000010"]  # the one that the stop wrote has gone


def test_a_second_interrupt_leaves_the_step_at_once_and_the_last_checkpoint_stays(tmp_path):
    policy = Interrupting([signal.SIGINT, signal.SIGINT], at=(13, 14))
    assert interrupted(tmp_path, policy) == 5
    assert policy.calls == 13 and step_of(RunFolder(tmp_path).own_checkpoints()[-1]) == 5


def test_a_stop_while_previews_are_sampled_drops_them_and_saves_the_step(tmp_path):
    previews = {"prompts": ["a fox"], "every": 3, "steps": 2}
    assert interrupted(tmp_path, Interrupting(sampling=2), previews=previews) == 3
    assert interrupted(tmp_path, Interrupting(sampling=2), previews=previews, resume=True) == 6
    assert interrupted(tmp_path, Interrupting(sampling=3), previews=previews, resume=True) == 10  # the last previews
    recipe = toy_recipe(tmp_path, **SETTINGS, previews=previews)
    result = train(recipe, policy=ToyPolicy(), pairs=toy_pairs(), resume=True)
    assert result.steps == 10 and result.artifact.is_file()
    assert [int(path.name[5:]) for path in sorted((tmp_path / "previews").iterdir())] == [0, 3, 6, 9, 10]


def test_a_stop_that_a_library_takes_for_damage_is_a_stop(tmp_path, monkeypatch):
    def load(path):
        """Reads as a library does that makes an error of its own of whatever its callbacks raise."""
        try:
            os.kill(os.getpid(), signal.SIGINT)
            signal.getsignal(signal.SIGINT)  # the handler has run by now
        except BaseException:
            raise ValueError("could not determine the shape of an object") from None

    assert interrupted(tmp_path, Interrupting(at=(13,))) == 7
    monkeypatch.setattr("diffalign.training.storage.checkpoint.load_file", load)
    assert interrupted(tmp_path, ToyPolicy(), resume=True) == 7


def test_a_rollback_after_a_stop_goes_back_as_far_as_without_it(tmp_path):
    settings = {"train__steps": 40, "train__learning_rate": 1e-3, "log__every": 1, "checkpoint__every": 10}
    pairs = toy_pairs(16)
    straight = ToyPolicy(shout=(61, 67))
    train(toy_recipe(tmp_path / "straight", **settings), policy=straight, pairs=pairs)
    with pytest.raises(Stopped, match="stopped at step 30"):  # just when a checkpoint is written anyway
        train(toy_recipe(tmp_path / "parts", **settings), policy=Interrupting(at=(60,)), pairs=pairs)
    with pytest.raises(Stopped, match="stopped at step 33"):  # within the spike nothing is saved
        policy = Interrupting(at=(3,), shout=(1, 7))
        train(toy_recipe(tmp_path / "parts", **settings), policy=policy, pairs=pairs, resume=True)
    assert is_extra(RunFolder(tmp_path / "parts").own_checkpoints()[-1])
    again = ToyPolicy()
    train(toy_recipe(tmp_path / "parts", **settings), policy=again, pairs=pairs, resume=True)
    assert torch.equal(again.state()["change"], straight.state()["change"])
    assert metrics(tmp_path / "parts") == metrics(tmp_path / "straight")


def test_a_spike_after_a_stop_rolls_back_to_a_checkpoint_of_the_recipe(tmp_path):
    settings = {"train__steps": 40, "train__learning_rate": 1e-3, "log__every": 1, "checkpoint__every": 10}
    pairs = toy_pairs(16)
    straight = ToyPolicy(shout=(67, 73))  # steps 34 to 36
    train(toy_recipe(tmp_path / "straight", **settings), policy=straight, pairs=pairs)
    with pytest.raises(Stopped, match="stopped at step 32"):
        train(toy_recipe(tmp_path / "parts", **settings), policy=Interrupting(at=(64,)), pairs=pairs)
    again = ToyPolicy(shout=(3, 9))
    train(toy_recipe(tmp_path / "parts", **settings), policy=again, pairs=pairs, resume=True)
    assert torch.equal(again.state()["change"], straight.state()["change"])
    assert metrics(tmp_path / "parts") == metrics(tmp_path / "straight")


def test_a_stop_before_anything_is_written_says_so(tmp_path):
    class Slow(ToyPolicy):
        def describe(self):
            os.kill(os.getpid(), signal.SIGTERM)
            return super().describe()

    with pytest.raises(Stopped, match="before the first step; nothing was trained") as error:
        train(toy_recipe(tmp_path / "run"), policy=Slow(), pairs=toy_pairs())
    assert error.value.exit_code == 143 and not (tmp_path / "run").exists()


def test_signals_keep_their_usual_effect_outside_of_the_main_thread(tmp_path):
    results = []
    thread = threading.Thread(
        target=lambda: results.append(train(toy_recipe(tmp_path), policy=ToyPolicy(), pairs=toy_pairs()))
    )
    thread.start()
    thread.join()
    assert results[0].steps == 10


def test_a_launcher_that_repeats_a_signal_does_not_make_it_a_second_one(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    signals = StopSignals()
    signals.handle(signal.SIGINT, None)
    signals.handle(signal.SIGINT, None)
    signals.handle(signal.SIGTERM, None)
    assert signals.received == signal.SIGINT and not signals.at_once
    monkeypatch.setenv("WORLD_SIZE", "1")
    with stop_signals(), pytest.raises(StopNow):
        signals.handle(signal.SIGINT, None)
    assert signals.at_once


def wait_for(condition, process, seconds=240):
    end = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, process.communicate()[1].decode()
        assert time.monotonic() < end, "it took too long"
        time.sleep(0.05)


def lines(folder):
    path = folder / "metrics.jsonl"
    return len(path.read_text().splitlines()) if path.exists() else 0


def test_the_command_line_stops_with_130_and_says_how_the_run_goes_on(tmp_path):
    rows = [{"prompt": f"Say {w}:", "chosen": f" {w}!", "rejected": f" not {w}"} for w in ("red", "blue", "green")]
    (tmp_path / "data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    recipe = {
        "model": {"kind": "text", "path": str(tiny_llm(tmp_path / "model")), "adapter": {"rank": 4}, "max_length": 200},
        "data": {"train": str(tmp_path / "data.jsonl")},
        "loss": {"name": "logistic", "beta": 0.1},
        "train": {"steps": 100_000, "batch_size": 2, "learning_rate": 1e-3, "mixed_precision": "no"},
        "log": {"every": 1},
        "checkpoint": {"every": 0},
        "output": str(tmp_path / "run"),
    }
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    command = [sys.executable, "-m", "diffalign", "train", str(tmp_path / "recipe.yaml")]
    quiet = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, cwd=ROOT, env=quiet, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    wait_for(lambda: lines(tmp_path / "run") > 2, process)
    process.send_signal(signal.SIGINT)
    _, shown = process.communicate(timeout=120)
    text = shown.decode()
    step = step_of(RunFolder(tmp_path / "run").own_checkpoints()[-1])
    assert process.returncode == 130 and "Traceback" not in text
    assert text.splitlines()[-1] == f"stopped at step {step}; go on with --resume"
    assert lines(tmp_path / "run") == step and not (tmp_path / "run" / "result").exists()


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """Runs of two processes: their folder, and the exit statuses of both. Made at once, for one start."""
    folder = tmp_path_factory.mktemp("two")

    def job(name, first=(), second=(), *more):
        both = [str(folder / name), *TYPED, *more]
        return [[*both, *first], [*both, *second]]

    jobs = [
        job("straight"),
        job("parts", (), ["stop_at=7"]),  # one of them is enough
        job("parts", ["resume=1"], ["resume=1"]),
        job("lost", (), ["die_at=7"]),
    ]
    command = [sys.executable, "-m", "tests.training.toy", "two", json.dumps(jobs)]
    quiet = {**os.environ, "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}
    done = subprocess.run(command, cwd=ROOT, env=quiet, capture_output=True, timeout=600, check=True)
    return folder, [json.loads(line) for line in done.stdout.splitlines() if line.startswith(b"[")]


def test_two_processes_stop_together_and_resume_to_the_same_bits(two):
    folder, statuses = two
    shown = [(folder / f"parts-{rank}.txt").read_text() for rank in (0, 1)]
    assert statuses[:3] == [[0, 0], [143, 143], [0, 0]], shown
    assert all("error: stopped at step 7; go on with --resume" in text for text in shown)  # one micro-batch a step
    assert metrics(folder / "parts") == metrics(folder / "straight")
    same(folder / "parts/checkpoints", folder / "straight/checkpoints")


def test_a_lost_process_ends_the_other_with_one_sentence_and_the_last_checkpoint_stays(two):
    folder, statuses = two
    text = (folder / "lost-0.txt").read_text()
    assert statuses[3] == [2, -signal.SIGKILL] and "Traceback" not in text, text
    assert "error: another process of this run has gone" in text and "goes on from step 5." in text
    result = train(toy_recipe(folder / "lost", **SETTINGS), policy=ToyPolicy(), pairs=toy_pairs(), resume=True)
    assert result.steps == 10
