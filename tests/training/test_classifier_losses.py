"""Single examples measured from a running shift, and such that are to be forgotten alone."""

import json
import socket

import pytest
import torch

from diffalign.data.records.pair import Pair
from diffalign.errors import ConfigError
from diffalign.training.loop import train
from diffalign.training.step.bco_shift import BcoShift
from diffalign.training.step.gradients import GradientComputer
from tests.training.test_resume import metrics, same, start
from tests.training.toy import ToyPolicy, toy_pairs, toy_recipe

BCO = {"pairs": "singles", "loss": {"name": "bco", "beta": 100.0}}
NPO = {"pairs": "singles", "loss": {"name": "npo", "beta": 100.0}}


def run(folder, rows=None, **changes):
    policy = ToyPolicy()
    result = train(toy_recipe(folder, **changes), policy=policy, pairs=toy_pairs() if rows is None else rows)
    return policy, result


@pytest.fixture
def met(monkeypatch):
    """Of each step: its shift, and its examples' logratios and kinds once they are known."""
    steps = []
    baseline, update = GradientComputer.baseline, BcoShift.update

    def recorded_baseline(self, pairs, batch):
        shift = baseline(self, pairs, batch)
        steps.append([shift.item()])
        return shift

    def recorded_update(self, logratios, desirable, reduce):
        steps[-1].append((logratios, desirable))
        update(self, logratios, desirable, reduce)

    monkeypatch.setattr(GradientComputer, "baseline", recorded_baseline)
    monkeypatch.setattr(BcoShift, "update", recorded_update)
    return steps


@pytest.mark.parametrize("shift", ["classes", "pooled"])
def test_a_steps_shift_is_that_of_the_earlier_steps(tmp_path, met, shift):
    run(tmp_path, **{**BCO, "loss": {**BCO["loss"], "shift": shift}}, train__steps=12)
    good, bad = [], []
    for point, *pieces in met:
        middle = lambda x: sum(x) / max(1, len(x))
        kinds = [middle(good), middle(bad)] if good and bad else [middle(good + bad)] * 2
        expected = sum(kinds) / 2 if shift == "classes" else middle(good + bad)
        assert point == pytest.approx(expected, rel=1e-4, abs=1e-8)
        for ratios, desirable in pieces:
            good += ratios[desirable].tolist()
            bad += ratios[~desirable].tolist()
    assert len(met) == 12 and len(good) + len(bad) == 12 * 8 and met[-1][0] != 0.0


def test_it_learns_which_examples_are_good(tmp_path):
    _, result = run(tmp_path, **BCO, train__steps=60, log__every=1)
    assert metrics(tmp_path)[0]["loss"] == pytest.approx(0.693147, abs=1e-5)
    assert result.metrics["loss"] < 0.5 and result.metrics["rewards/accuracies"] > 0.8
    assert "shift" in result.metrics and "kl" not in result.metrics


def test_a_killed_run_resumes_its_shift_bit_for_bit(tmp_path):
    typed = [f"{name}={json.dumps(value)}" for name, value in BCO.items()]
    process = start(tmp_path / "killed", *typed, "log__every=3", "die_at=15")
    process.communicate(timeout=600)
    again, (straight, _) = ToyPolicy(), run(tmp_path / "straight", **BCO, log__every=3)
    train(toy_recipe(tmp_path / "killed", **BCO, log__every=3), policy=again, pairs=toy_pairs(), resume=True)
    assert torch.equal(again.state()["change"], straight.state()["change"])
    same(tmp_path / "killed/checkpoints", tmp_path / "straight/checkpoints")


def test_two_processes_have_the_shift_of_one(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    world = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    typed = [f"{name}={json.dumps(value)}" for name, value in BCO.items()]
    two = [start(tmp_path / "two", *typed, RANK=str(rank), LOCAL_RANK=str(rank), **world) for rank in range(2)]
    for process in two:
        _, errors = process.communicate(timeout=600)
        assert process.returncode == 0, errors.decode()
    policy, _ = run(tmp_path / "one", **BCO, train__micro_batch_size=8)
    change = json.loads((tmp_path / "two/seen-0.json").read_text())[1]
    assert torch.allclose(torch.tensor(change), policy.state()["change"], atol=1e-5, rtol=1e-4)


def singles(*good):
    return [Pair(f"j{k}", f"q{k}", f"c j{k}", None, desirable=up) for k, up in enumerate(good)]


def test_npo_needs_undesirable_examples_and_no_desirable_ones(tmp_path):
    _, result = run(tmp_path / "a", singles(*[False] * 8), **NPO, train__steps=40)
    assert result.metrics["rewards/rejected"] < 0.0 and result.metrics["loss"] < 2 / 100.0 * 0.6932
    with pytest.raises(ConfigError, match=r"'npo' compares .* all 8 are desirable"):
        run(tmp_path / "b", singles(*[True] * 8), **NPO)
    with pytest.raises(ConfigError, match="all 8 are undesirable"):
        run(tmp_path / "c", singles(*[False] * 8), **BCO)


def test_retained_examples_stay_likelier_than_without_retaining(tmp_path):
    rows, kept = singles(*[True, False] * 8), {}
    for weight in (0.0, 5.0):
        loss = {**NPO["loss"], "retain": weight}
        run(tmp_path / f"{weight}", rows, pairs="singles", loss=loss, train__steps=60, log__every=1)
        logged = [record["rewards/chosen"] for record in metrics(tmp_path / f"{weight}") if "rewards/chosen" in record]
        kept[weight] = sum(logged[-30:]) / 30
    assert kept[5.0] > kept[0.0] and kept[0.0] < 0.0
