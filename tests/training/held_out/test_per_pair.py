"""Held-out pairs one by one: worked numbers come out under their names, whatever the loss and the number of looks."""

import json
import math

import pytest
import torch

from diffalign.data.records.pair import Pair
from diffalign.labels import Label
from diffalign.losses import CandidateLogps, PairLogps, loss_named, single_loss_objective
from diffalign.training.held_out.per_pair import PerPairMetrics
from diffalign.training.loop import train
from tests.training.toy import ToyPolicy, toy_pairs, toy_recipe

# (policy chosen, rejected, reference chosen, rejected): the worked pair, and one that reference and policy rank wrong
PAIRS = [(-12.0, -15.0, -13.0, -14.5), (-19.0, -14.0, -20.0, -14.5)]


def scores(rows, lengths=True, reference=True):
    w, l, ref_w, ref_l = torch.tensor(rows, dtype=torch.float64).unbind(1)  # noqa: E741
    sizes = [torch.tensor([n] * len(rows)) if lengths else None for n in (6, 10)]
    given = (CandidateLogps(ref_w), CandidateLogps(ref_l)) if reference else (None, None)
    return PairLogps(CandidateLogps(w, lengths=sizes[0]), CandidateLogps(l, lengths=sizes[1]), *given)


def votes(count, scale=None, relabels=False):
    ones = torch.ones(count, dtype=torch.float64)
    return Label(probability=ones, weight=ones, scale=scale, relabels=relabels)


def pairs(*probabilities):
    return [Pair(str(k), "p", "a", "b", probability=p) for k, p in enumerate(probabilities)]


def read(loss, rows=PAIRS, probabilities=(1.0, 1.0), **how):
    held = PerPairMetrics(len(rows), single_loss_objective(loss))
    held.add(range(len(rows)), scores(rows, **how), votes(len(rows)))
    return held.read(pairs(*probabilities), lambda x: x)


def test_the_worked_pairs_are_ranked_as_worked_out():
    found = read(loss_named("logistic").bind(beta=0.1))
    assert found["accuracy/ranking"] == 0.5 and found["accuracy/ranking_per_token"] == 0.0
    assert found["accuracy/ranking_ideal"] == 1.0 and found["ranking/gap"] == 0.5  # with 0.75, -5.5 + 10.99 > 0
    assert (found["ranking/both"], found["ranking/neither"], found["ranking/flipped"]) == (0.5, 0.5, 0.0)
    assert found["ranking/flip_loss"] == pytest.approx(0.455492, abs=5e-7) and found["ranking/unreachable"] == 0.0
    assert (found["displacement/chosen"], found["displacement/rejected"]) == (1.0, 0.0)
    assert found["displacement/suppression"] == pytest.approx((0.5 - 0.5) / 2 / 1.0)
    slopes = [0.1 * 0.462570, 0.1 / (1 + math.exp(0.05))]
    assert found["displacement/grad_weight"] == pytest.approx(sum(slopes) / 2, abs=1e-6)


def test_rater_shares_of_the_data_decide_the_ideal():
    assert read(loss_named("logistic").bind(beta=0.1), probabilities=(1.0, 0.6))["accuracy/ranking_ideal"] == 0.5
    assert read(loss_named("logistic").bind(beta=0.05), probabilities=(1.0, 0.6))["accuracy/ranking_ideal"] == 1.0


def test_a_squared_loss_has_its_own_ideal_and_threshold():
    found = read(loss_named("ipo").bind(beta=0.05, per_token=False))  # target 10, the optimum of 0.75 is 5 < 5.5
    assert found["accuracy/ranking_ideal"] == 0.5 and found["ranking/flip_loss"] == pytest.approx(4.5**2)
    far = read(loss_named("ipo").bind(beta=0.1, per_token=False))  # target 5: no loss promises the second pair
    assert far["ranking/unreachable"] == 1.0 and "ranking/flip_loss" not in far


def test_draws_are_averaged_before_pairs_are_ranked():
    held = PerPairMetrics(2, single_loss_objective(loss_named("logistic").bind(beta=0.1)))
    for shift in (30.0, -28.0):  # each look alone ranks both pairs alike; the mean does not
        moved = [(w + shift, l, rw + shift, rl) for w, l, rw, rl in PAIRS]  # noqa: E741
        held.add([1, 0], scores(moved[::-1], lengths=False), votes(2))
    found = held.read(pairs(1.0, 1.0), lambda x: x)
    assert found["accuracy/ranking"] == 0.5 and found["ranking/both"] == 0.5
    assert not {"accuracy/ranking_per_token", "displacement/token_ratio"} & found.keys(), "images have no tokens"


def test_two_processes_compute_the_metrics_of_one():
    loss, whole = single_loss_objective(loss_named("logistic").bind(beta=0.1)), scores(PAIRS)
    parts = [PerPairMetrics(2, loss), PerPairMetrics(2, loss)]
    for k, part in enumerate(parts):
        part.add([k], scores(PAIRS[k : k + 1]), votes(1))
    one = PerPairMetrics(2, loss)
    one.add([0, 1], whole, votes(2))
    total = parts[0].sums + parts[1].sums
    assert parts[0].read(pairs(1.0, 1.0), lambda x: total) == one.read(pairs(1.0, 1.0), lambda x: x)


def test_a_label_that_swaps_a_pair_swaps_its_share_of_raters():
    held = PerPairMetrics(2, single_loss_objective(loss_named("logistic").bind(beta=0.05)))
    label = votes(2, scale=torch.tensor([1.0, -1.0]), relabels=True)
    held.add([0, 1], scores(PAIRS), label)  # the scores are given as turned already
    assert held.read(pairs(1.0, 0.4), lambda x: x)["accuracy/ranking_ideal"] == 1.0
    assert held.read(pairs(1.0, 0.6), lambda x: x)["accuracy/ranking_ideal"] == 0.5


def test_without_a_reference_only_ranks_are_logged():
    found = read(loss_named("simpo").bind(beta=2.0), reference=False)
    assert found.keys() == {"accuracy/ranking", "accuracy/ranking_per_token", "displacement/token_ratio"}


def test_single_examples_have_no_metrics_of_pairs():
    held = PerPairMetrics(1, single_loss_objective(loss_named("sft").bind()))
    held.add([0], PairLogps(CandidateLogps(torch.tensor([-1.0]))), votes(1))
    assert held.read(pairs(1.0), lambda x: x) == {}


def test_a_run_logs_them_next_to_the_implicit_accuracy(tmp_path):
    held = [{"prompt": p.prompt, "chosen": p.chosen, "rejected": p.rejected} for p in toy_pairs(8)]
    (tmp_path / "held.jsonl").write_text("".join(json.dumps(row) + "\n" for row in held))
    data = {"train": "memory", "eval": str(tmp_path / "held.jsonl")}
    result = train(toy_recipe(tmp_path / "run", data=data), policy=ToyPolicy(), pairs=toy_pairs())
    found = result.metrics
    table = [found[f"eval_ranking/{name}"] for name in ("both", "gained", "lost", "neither")]
    assert sum(table) == pytest.approx(1.0) and found["eval_accuracy/ranking"] == pytest.approx(table[0] + table[1])
    assert found["eval_ranking/gap"] == pytest.approx(
        found["eval_accuracy/ranking_ideal"] - found["eval_accuracy/ranking"]
    )
    assert 0.0 < found["eval_displacement/grad_weight"] <= 50.0, "never above beta"
    assert 0 <= found["eval_calibration/error"] <= 0.5
