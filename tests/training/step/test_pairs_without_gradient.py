"""Pairs without gradient are skipped exactly; pairs that a judge reorders are reported in its order."""

import math
from dataclasses import replace

import pytest
import torch

from diffalign.pairs import DatasetPairs
from diffalign.training.loop import train
from diffalign.training.step.gradients import GradientComputer
from diffalign.training.step.skip_zero_weight_pairs import SkippedPairs
from diffalign.training.storage.checkpoint import read_checkpoint
from diffalign.training.storage.checkpoint_folder import complete_checkpoints
from tests.training.test_resume import metrics
from tests.training.toy import ToyPolicy, toy_pairs, toy_recipe

AGREE = {"name": "score_scaled", "scorer": "judge", "source": "agreement", "gamma": 2.0}
# One pair in a micro-batch: what is left out then changes no sum but by an exact zero.
ALONE = {"train__micro_batch_size": 1, "train__ema_decay": None, "log__every": 3}


def judged(gaps, count=12):
    """Pairs whose judge sees these gaps between chosen and rejected, in turn."""
    pairs = [
        replace(pair, scores={"chosen": {"judge": 0.5 + gaps[k % len(gaps)]}, "rejected": {"judge": 0.5}})
        for k, pair in enumerate(toy_pairs(count))
    ]
    return DatasetPairs(tuple(pairs), ranges={"judge": (0.0, 1.0)})


SOME = judged([-0.3, 0.0, 0.2, 0.4])  # the first two of four have no gradient: one contradicted, one a tie


def run(folder, pairs=SOME, labels=AGREE, **changes):
    policy = ToyPolicy()
    result = train(toy_recipe(folder, labels=labels, **{**ALONE, **changes}), policy=policy, pairs=pairs)
    return policy, result


def everything_is_scored(monkeypatch):
    none = torch.zeros(0, dtype=torch.float64)
    monkeypatch.setattr(
        "diffalign.training.step.gradients.skip_pairs_without_gradient",
        lambda loss, label_of, pairs, visits: (visits, SkippedPairs(none, none)),
    )


def test_pairs_without_gradient_cost_no_forward_pass_and_nothing_else_changes(tmp_path, monkeypatch):
    short, _ = run(tmp_path / "short")
    with monkeypatch.context() as patch:
        everything_is_scored(patch)
        full, _ = run(tmp_path / "full")
    assert torch.equal(short.state()["change"], full.state()["change"]) and short.state()["change"].any()
    loud = [pair.id for k, pair in enumerate(SOME.pairs) if k % 4 > 1]
    assert short.seen == [visit for visit in full.seen if visit[0] in loud] and len(full.seen) == 80
    assert short.referenced == [key for key, _ in short.seen]  # and the reference runs no more often than the policy
    for one, other in zip(metrics(tmp_path / "short"), metrics(tmp_path / "full"), strict=True):
        assert one["loss"] == pytest.approx(other["loss"], rel=1e-7)
        assert one["grad_norm"] == other["grad_norm"]
        assert "label/skipped" not in other
    # Steps 1 to 3 are 24 visits: two epochs, in each of which half of the pairs are skipped.
    assert metrics(tmp_path / "short")[0]["label/skipped"] == 0.5


def test_a_guard_reads_the_mean_change_of_the_pairs_with_a_gradient(tmp_path, monkeypatch):
    seen = []
    plain = GradientComputer.gradients
    monkeypatch.setattr(
        GradientComputer, "gradients", lambda self, batch, step: seen.append(plain(self, batch, step)) or seen[-1]
    )
    run(tmp_path, log__every=1)
    logged = [record["error/chosen_change"] for record in metrics(tmp_path)]
    assert [reading.chosen_change for reading in seen] == pytest.approx(logged, rel=1e-4, abs=1e-9)


def test_a_batch_of_pairs_without_gradient_moves_nothing_and_logs_its_known_loss(tmp_path):
    policy, _ = run(tmp_path, pairs=judged([0.0]), train__optimizer="sgd", train__weight_decay=0.0)
    assert not policy.state()["change"].any()
    assert len(policy.seen) == 10  # one for each step, so that there is a gradient to wait for
    for record in metrics(tmp_path):
        assert record["loss"] == pytest.approx(math.log(2), abs=1e-7) and record["grad_norm"] == 0.0
        assert record["label/skipped"] == 7 / 8


def test_a_log_window_with_skipped_pairs_resumes_in_its_middle(tmp_path):
    # A line each 3 steps and a checkpoint after 5: steps 4 and 5 wait in it, with what they left out.
    straight, _ = run(tmp_path)
    before = metrics(tmp_path)
    first, last = complete_checkpoints(tmp_path / "checkpoints")
    window = read_checkpoint(first).facts["window"]
    assert window["pairs"] + window["skipped"] == 16 and window["skipped"] > 0
    for path in last.iterdir():
        path.unlink()
    again = ToyPolicy()
    train(toy_recipe(tmp_path, labels=AGREE, **ALONE), policy=again, pairs=SOME, resume=True)
    assert torch.equal(again.state()["change"], straight.state()["change"])
    assert metrics(tmp_path) == before and len(again.seen) < len(straight.seen)


# The judge contradicts every vote.
AGAINST = judged([-0.4])


def test_accuracy_is_measured_by_the_source_that_the_labels_follow(tmp_path):
    said = {}
    for source in ("scorer", "human"):
        labels = {"name": "score_scaled", "scorer": "judge", "source": source, "gamma": 5.0}
        changes = {"train__steps": 40, "train__learning_rate": 0.003, "log__every": 40}
        said[source] = run(tmp_path / source, pairs=AGAINST, labels=labels, **changes)
    (by_judge, judge), (by_vote, vote) = said.values()
    assert torch.equal(by_judge.state()["change"], by_vote.state()["change"])  # they train alike, to the bit
    assert judge.metrics["loss"] == vote.metrics["loss"] < 0.69
    assert judge.metrics["rewards/accuracies"] > 0.7
    assert vote.metrics["rewards/accuracies"] == pytest.approx(1 - judge.metrics["rewards/accuracies"])
    assert judge.metrics["rewards/chosen"] == pytest.approx(vote.metrics["rewards/rejected"])
    assert judge.metrics["rewards/margins"] == pytest.approx(-vote.metrics["rewards/margins"])
    assert judge.metrics["error/chosen_change"] == pytest.approx(vote.metrics["error/rejected_change"])


def test_held_out_accuracy_follows_the_judge_too(tmp_path, monkeypatch):
    said = {}
    held = replace(AGAINST, pairs=AGAINST.pairs[:8])
    monkeypatch.setattr("diffalign.training.held_out.evaluate.read_dataset", lambda *_, **__: held)
    for source in ("scorer", "human"):
        labels = {"name": "score_scaled", "scorer": "judge", "source": source, "gamma": 5.0}
        changes = {"train__steps": 20, "train__learning_rate": 0.003, "log__every": 20, "data__eval": "held"}
        result = run(tmp_path / source, AGAINST, labels, **changes)[1]
        said[source] = result.metrics["eval_rewards/accuracies"]
    assert said["scorer"] > 0.6 and said["human"] == pytest.approx(1 - said["scorer"])
