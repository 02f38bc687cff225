"""What a run says about the noise of inverted latents: before training, in its metrics, and after a resume."""

import json
from types import SimpleNamespace

import pytest

from diffalign.data.records.pair import Pair
from diffalign.training.loop import train
from diffalign.training.report.noise_watch import NoiseWatch, probe_pairs
from tests.training.tiny_runs import losses, run, state, tiny_recipe

INVERTED = {"latents": {"name": "ddim_inversion", "steps": 4}}
FORWARD = ("forward/error", "forward/error_change", "forward/error_change_se")


def records(output):
    return [json.loads(line) for line in (output / "metrics.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def inverting(sd, pairs, tmp_path_factory):
    """A run of four steps with a checkpoint in its middle."""
    output = tmp_path_factory.mktemp("inverting") / "run"
    result = run(sd, output, pairs, model=INVERTED, train={"steps": 4}, checkpoint={"every": 2})
    return output, result


def test_a_run_that_inverts_says_the_noise_by_level_before_training(sd, pairs, tmp_path, capsys):
    train(tiny_recipe(sd, tmp_path / "run", model=INVERTED), pairs=pairs)
    said = " ".join(capsys.readouterr().err.split())
    assert "noise rms by level " in said and "at 125" in said and "at 875" in said
    assert "4 pairs, 80 forward passes" in said
    run(sd, tmp_path / "plain", pairs)
    assert "rms by level" not in capsys.readouterr().err


def test_only_a_run_that_inverts_measures_its_error_under_forward_noising(sd, pairs, tmp_path, inverting):
    output, result = inverting
    rows = records(output)
    assert all(name in row for row in rows for name in FORWARD)
    # 80 before training, and 2 draws of 2 candidates of 4 pairs then and at each of 4 records
    assert result.policy.forward_counts.probe == 80 + 5 * 2 * 2 * len(pairs)
    plain = run(sd, tmp_path / "plain", pairs)
    assert plain.policy.forward_counts.probe == 0 and plain.noise is None
    assert not any(name in row for row in records(tmp_path / "plain") for name in FORWARD)


def test_the_change_is_that_of_the_policy_against_what_it_was_before_training(inverting, pairs):
    output, result = inverting
    last = records(output)[-1]
    after = sum(result.policy.forward_errors(pairs)) / len(pairs)
    assert last["forward/error"] == pytest.approx(after, rel=1e-5)
    fresh = state(result)
    result.policy.load_state({name: value * (0 if "lora_B" in name else 1) for name, value in fresh.items()})
    before = sum(result.policy.forward_errors(pairs)) / len(pairs)
    result.policy.load_state(fresh)
    assert last["forward/error_change"] == pytest.approx(after - before, rel=1e-3)
    assert last["forward/error_change"] != 0.0


def test_it_changes_nothing_of_a_run(sd, pairs, tmp_path, inverting, monkeypatch):
    monkeypatch.setattr(NoiseWatch, "begin", lambda *_: None)
    alone = run(sd, tmp_path / "run", pairs, model=INVERTED, train={"steps": 4}, checkpoint={"every": 2})
    assert losses(tmp_path / "run") == losses(inverting[0])
    assert all(value.equal(state(inverting[1])[name]) for name, value in state(alone).items())


def test_a_resumed_run_measures_the_same_numbers(sd, pairs, tmp_path, inverting):
    half, output = {"steps": 2}, tmp_path / "run"
    run(sd, output, pairs, model=INVERTED, train=half, checkpoint={"every": 2})
    resumed = run(sd, output, pairs, model=INVERTED, train={"steps": 4}, checkpoint={"every": 2}, resume=True)
    names = (*FORWARD, "loss", "noise/rms")
    assert [[row[n] for n in names] for row in records(output)] == [
        [row[n] for n in names] for row in records(inverting[0])
    ]
    assert resumed.noise == inverting[1].noise


def test_pairs_come_from_all_over_the_data_and_have_the_same_answers():
    made = [Pair(str(i), "p", f"{i}a", None if i == 50 else f"{i}b") for i in range(100)]
    assert [pair.id for pair in probe_pairs(made, 4)] == ["0", "25", "75"]
    assert [pair.id for pair in probe_pairs(made[:2], 4)] == ["0", "1"]


def test_processes_that_log_nothing_measure_nothing(pairs):
    assert NoiseWatch.begin(None, SimpleNamespace(is_main_process=False), pairs, 2) is None
