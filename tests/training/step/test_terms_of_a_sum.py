"""The terms of a sum of losses: their names, their values under a label, and what a run logs of them."""

import json
from dataclasses import replace

import pytest
import torch

from diffalign.labels import Label, expected, expected_terms
from diffalign.losses import LOSSES, Objective, Term
from diffalign.pairs import DatasetPairs
from diffalign.training.loop import train
from diffalign.training.step.metrics import Metrics
from diffalign.training.step.micro_batch_metrics import metric_rows
from tests.losses.logps import drawn
from tests.tiny_text import text_pairs
from tests.training.step.test_sums_of_losses import DPO, llm, recipe, records  # noqa: F401
from tests.training.toy import ToyPolicy, toy_pairs, toy_recipe

LOGISTIC = LOSSES["logistic"].bind(beta=0.5)
HINGE = LOSSES["hinge"].bind(beta=0.5)
SFT = LOSSES["sft"].bind()
TWO_CURVES = [{"name": "logistic", "beta": 50.0}, {"name": "hinge", "beta": 50.0, "times": 0.3}]
SUM = Objective((Term(LOGISTIC), Term(SFT, 0.2)))


def labels(count, probability=1.0, weight=1.0):
    ones = torch.ones(count, dtype=torch.float64)
    return Label(probability * ones, weight * ones)


def terms_in(record, prefix="loss/"):
    return {name: value for name, value in record.items() if name.startswith(prefix)}


def assert_terms_sum_to_the_loss(record, names, prefix=""):
    terms = terms_in(record, f"{prefix}loss/")
    assert set(terms) == {f"{prefix}loss/{name}" for name in names}
    assert sum(terms.values()) == pytest.approx(record[f"{prefix}loss"], rel=1e-6)


def test_terms_of_one_loss_are_numbered():
    objective = Objective((Term(LOGISTIC), Term(HINGE), Term(LOGISTIC, 0.5)))
    assert objective.term_names == ("logistic", "hinge", "logistic_2")
    assert list(objective.term_losses_at_zero) == list(objective.term_names)


def test_the_total_adds_the_terms_in_their_order_to_the_bit():
    logps = drawn(5)
    terms = SUM.term_losses(logps)
    assert torch.equal(SUM(logps), terms["logistic"] + terms["sft"])
    assert torch.equal(terms["sft"], 0.2 * SFT(logps))


@pytest.mark.parametrize("probability", [1.0, 0.8])
def test_terms_under_a_label_sum_to_its_expected_loss(probability):
    logps, label = drawn(5), labels(5, probability, weight=2.0)
    loss = expected_terms(SUM, logps, label)
    assert torch.equal(loss.total, expected(SUM, logps, label))
    torch.testing.assert_close(sum(loss.terms.values()), loss.total)
    by_hand = 2.0 * (probability * LOGISTIC(logps) + (1 - probability) * LOGISTIC(logps.swapped()))
    torch.testing.assert_close(loss.terms["logistic"], by_hand)
    torch.testing.assert_close(loss.terms["sft"], 2.0 * 0.2 * SFT(logps))  # of the chosen candidate in either case
    assert not any(value.requires_grad for value in loss.terms.values())


def test_a_text_run_logs_each_term_of_a_sum(llm, tmp_path):  # noqa: F811
    train(recipe(llm, tmp_path / "sum", loss=[DPO, {"name": "sft", "times": 0.2}]), pairs=text_pairs(4))
    for record in records(tmp_path / "sum"):
        assert_terms_sum_to_the_loss(record, ("logistic", "sft"))
    assert records(tmp_path / "sum")[0]["loss/logistic"] == pytest.approx(0.693147, rel=1e-5)


def test_a_run_of_one_loss_logs_no_terms(tmp_path):
    result = train(toy_recipe(tmp_path), policy=ToyPolicy(), pairs=toy_pairs())
    assert not terms_in(result.metrics)


def test_labels_that_mix_swapped_pairs_log_the_expected_terms(tmp_path):
    pairs = [replace(pair, probability=0.7) for pair in toy_pairs()]
    result = train(toy_recipe(tmp_path, loss=TWO_CURVES, labels="column"), policy=ToyPolicy(), pairs=pairs)
    assert_terms_sum_to_the_loss(result.metrics, ("logistic", "hinge"))


def test_terms_count_the_pairs_that_were_skipped_as_the_loss_does(tmp_path):
    scores = [{"chosen": {"judge": 0.5 + 0.2 * (k % 2)}, "rejected": {"judge": 0.5}} for k in range(12)]
    pairs = [replace(pair, scores=score) for pair, score in zip(toy_pairs(), scores, strict=True)]
    data = DatasetPairs(tuple(pairs), ranges={"judge": (0.0, 1.0)})
    label = {"name": "score_scaled", "scorer": "judge", "source": "agreement", "gamma": 2.0}
    result = train(toy_recipe(tmp_path, loss=TWO_CURVES, labels=label), policy=ToyPolicy(), pairs=data)
    assert result.metrics["label/skipped"] > 0
    assert_terms_sum_to_the_loss(result.metrics, ("logistic", "hinge"))


def test_held_out_evaluation_logs_the_terms_too(tmp_path):
    rows = [{"prompt": f"q{k}", "chosen": "good", "rejected": "bad"} for k in range(4)]
    (tmp_path / "held.jsonl").write_text("\n".join(map(json.dumps, rows)))
    data = {"train": "memory", "eval": str(tmp_path / "held.jsonl")}
    result = train(toy_recipe(tmp_path / "run", loss=TWO_CURVES, data=data), policy=ToyPolicy(), pairs=toy_pairs())
    assert_terms_sum_to_the_loss(result.metrics, ("logistic", "hinge"))
    assert_terms_sum_to_the_loss(result.metrics, ("logistic", "hinge"), prefix="eval_")


def test_two_adapters_log_the_terms_of_both_and_their_gap(llm, tmp_path):  # noqa: F811
    losses = [DPO, {"name": "hinge", "beta": 0.5}]
    train(recipe(llm, tmp_path / "both", loss=losses, train={"fast_slow": {"alpha": 0.5}}), pairs=text_pairs(4))
    for record in records(tmp_path / "both"):
        assert_terms_sum_to_the_loss(record, ("logistic", "hinge", "fast_slow"))


def test_a_window_that_was_saved_without_terms_continues():
    logps = drawn(4)
    rows = metric_rows(SUM, logps, expected_terms(SUM, logps, labels(4)), {})
    first, resumed = Metrics(SUM), Metrics(SUM)
    first.add({name: row for name, row in rows.items() if not name.startswith("loss/")})
    saved = json.loads(json.dumps(first.state()))
    del saved["skipped_weight"]
    resumed.load_state(saved, torch.device("cpu"))
    resumed.add(rows)
    assert resumed.read()["loss"] == pytest.approx(first.read()["loss"])
    assert_terms_sum_to_the_loss(resumed.read(), ("logistic", "sft"))
