"""The loop's promises, on a toy policy of 36 numbers."""

import json
import math

import pytest
import torch

from diffalign.errors import ConfigError, RunError
from diffalign.training.loop import train
from tests.training.toy import ToyPolicy, toy_pairs, toy_recipe


def run(folder, policy=None, pairs=12, **changes):
    policy = policy or ToyPolicy()
    return train(toy_recipe(folder, **changes), policy=policy, pairs=toy_pairs(pairs)), policy


def lines(folder, name="metrics.jsonl"):
    return [json.loads(line) for line in (folder / name).read_text().splitlines()]


def test_the_first_loss_is_log_two(tmp_path):
    run(tmp_path, train__steps=1, log__every=1)
    assert lines(tmp_path)[0]["loss"] == pytest.approx(math.log(2), abs=1e-6)
    assert lines(tmp_path)[0]["rewards/accuracies"] == 0.5  # ties count half


def test_it_learns_and_says_so(tmp_path):
    result, _ = run(tmp_path, train__steps=60, train__learning_rate=0.003, log__every=2)
    assert result.metrics["loss"] < 0.6 and result.metrics["rewards/accuracies"] > 0.8
    assert any(text.startswith("It learns") for text in result.summary)


def test_a_batch_equals_its_accumulated_pieces(tmp_path):
    _, whole = run(tmp_path / "a", train__micro_batch_size=8, train__ema_decay=None)
    _, pieces = run(tmp_path / "b", train__micro_batch_size=1, train__ema_decay=None)
    assert whole.seen == pieces.seen
    assert torch.allclose(whole.state()["change"], pieces.state()["change"], atol=1e-5, rtol=1e-4)
    for one, other in zip(lines(tmp_path / "a"), lines(tmp_path / "b"), strict=True):
        for name in set(one) - {"time/pairs_per_second"}:
            assert one[name] == pytest.approx(other[name], rel=1e-3, abs=1e-4), name


def test_a_loss_that_is_not_finite_stops_the_run_before_the_optimizer_steps(tmp_path):
    policy = ToyPolicy(poison="p3")
    with pytest.raises(RunError, match=r"step 1 .*p3.*--resume"):
        run(tmp_path, policy, pairs=4, train__batch_size=4)
    assert not policy.state()["change"].any()


def test_a_folder_with_another_run_is_refused_and_says_what_to_type(tmp_path):
    run(tmp_path, train__steps=5)
    before = (tmp_path / "metrics.jsonl").read_bytes()
    with pytest.raises(RunError, match=r"up to step 5.*--resume.*--set output="):
        run(tmp_path)
    assert (tmp_path / "metrics.jsonl").read_bytes() == before
    with pytest.raises(RunError, match=r"loss.beta was 50.0, now 60.0"):
        train(toy_recipe(tmp_path, loss__beta=60.0), policy=ToyPolicy(), pairs=toy_pairs(), resume=True)


def test_resuming_nothing_is_an_error(tmp_path):
    with pytest.raises(RunError, match="no run in"):
        train(toy_recipe(tmp_path / "new"), policy=ToyPolicy(), pairs=toy_pairs(), resume=True)


def test_the_last_n_checkpoints_stay(tmp_path):
    run(tmp_path, checkpoint__every=2, checkpoint__keep=2)
    assert sorted(p.name for p in (tmp_path / "checkpoints").iterdir()) == ["step-00000008", "step-00000010"]


def test_checking_writes_and_encodes_nothing(tmp_path, capsys):
    policy = ToyPolicy()
    train(toy_recipe(tmp_path / "x"), policy=policy, pairs=toy_pairs(), check_only=True)
    shown = capsys.readouterr().err
    assert not (tmp_path / "x").exists() and not policy.prepared
    assert "12 pairs" in shown and "0.6931 at step 0" in shown and "6.67 epochs" in shown


def test_a_run_ends_with_the_number_of_its_forward_passes(tmp_path, capsys):
    _, policy = run(tmp_path)
    both = 10 * 8 * 2
    counts = policy.forward_counts
    assert (counts.policy, counts.reference, counts.forwards) == (both, both, 4 * both)
    assert counts.summary() in capsys.readouterr().err


def test_previews_are_made_with_the_average_and_leave_the_weights_alone(tmp_path):
    _, plain = run(tmp_path / "a")
    _, shown = run(tmp_path / "b", previews__prompts=["x"], previews__every=3)
    assert torch.equal(plain.state()["change"], shown.state()["change"])
    made = sorted(p.parent.name for p in (tmp_path / "b" / "previews").rglob("*.txt"))
    assert made == ["step-00000000", "step-00000003", "step-00000006", "step-00000009", "step-00000010"]
    # What is returned is the average, so the last preview is what the returned policy draws.
    last = (tmp_path / "b/previews/step-00000010/00-seed-0.txt").read_text()
    assert last == f"x 0 {float(shown.state()['change'].abs().sum()):.6f}"


def test_the_result_is_the_average_with_a_description_of_the_run(tmp_path):
    result, policy = run(tmp_path)
    saved = json.loads(result.artifact.read_text())
    assert torch.allclose(torch.tensor(saved["change"]), policy.state()["change"])
    _, last = run(tmp_path / "plain", train__ema_decay=None)
    assert not torch.allclose(torch.tensor(saved["change"]), last.state()["change"])
    assert saved["about"]["loss"] == "logistic" and saved["about"]["steps"] == 10 and saved["about"]["pairs"] == 12


def test_a_spike_rolls_the_weights_back_and_training_continues(tmp_path):
    # From call 61 on for a while, the policy's scores explode: thirty quiet steps, then three outliers in a row.
    policy = ToyPolicy(shout=(61, 67))
    settings = {"train__steps": 40, "train__learning_rate": 1e-3, "train__ema_decay": None, "log__every": 1}
    result, _ = run(tmp_path, policy, pairs=16, checkpoint__every=10, **settings)
    about = json.loads(result.artifact.read_text())["about"]
    assert about["rollbacks"] == 1 and result.steps == 40
    _, calm = run(tmp_path / "calm", pairs=16, **settings)
    assert (policy.state()["change"] - calm.state()["change"]).abs().max() < 0.05


def test_spikes_that_persist_end_the_run(tmp_path):
    policy = ToyPolicy(shout=(61, 10_000))
    with pytest.raises(RunError, match=r"3 rollbacks.*last good checkpoint"):
        run(tmp_path, policy, pairs=16, train__steps=80, train__learning_rate=1e-3, checkpoint__every=10)


def test_two_runs_of_one_process_may_differ_in_precision(tmp_path):
    run(tmp_path / "a", train__steps=2)
    run(tmp_path / "b", train__steps=2, train__mixed_precision="bf16")


def test_held_out_pairs_are_evaluated_at_noise_that_training_never_uses(tmp_path):
    rows = [{"prompt": f"q{k}", "chosen": "good", "rejected": "bad"} for k in range(4)]
    (tmp_path / "held.jsonl").write_text("\n".join(map(json.dumps, rows)))
    data = {"train": "memory", "eval": str(tmp_path / "held.jsonl"), "eval_every": 4}
    _, policy = run(tmp_path / "a", data=data, log__every=2)
    _, plain = run(tmp_path / "b", log__every=2)
    records = lines(tmp_path / "a")
    assert [r["step"] for r in records if "eval_rewards/accuracies" in r] == [4, 8, 10]
    looks = {visit for visit in policy.seen if visit[0].startswith("eval/")}
    assert len(looks) == 16 and {visit for _, visit in looks} == {-1, -2, -3, -4}
    assert torch.equal(policy.state()["change"], plain.state()["change"])


def test_processes_that_do_not_find_each_other_are_stopped_before_they_write_over_each_other(tmp_path, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("ACCELERATE_USE_CPU", "false")
    with pytest.raises(ConfigError, match="2 processes.*ACCELERATE_USE_CPU=true"):
        run(tmp_path / "x")
    assert not (tmp_path / "x").exists()
