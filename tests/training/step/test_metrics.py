"""Metrics of micro-batches and their means over a log window."""

import json

import pytest
import torch

from diffalign.labels import ExpectedLoss
from diffalign.losses import LOSSES, CandidateLogps, PairLogps, single_loss_objective
from diffalign.training.step.metrics import Metrics
from diffalign.training.step.micro_batch_metrics import metric_rows


def rows(loss, logps, info):
    """The metrics of a micro-batch with sure labels."""
    values = loss(logps)
    return metric_rows(loss, logps, ExpectedLoss(values, {}), info)


def scores(chosen, rejected):
    zero = CandidateLogps(torch.zeros(len(chosen)))
    return PairLogps(CandidateLogps(torch.tensor(chosen)), CandidateLogps(torch.tensor(rejected)), zero, zero)


def test_metrics_are_means_over_pairs_whatever_the_pieces():
    loss = single_loss_objective(LOSSES["logistic"].bind(beta=10.0))
    chosen, rejected = [0.1, -0.2, 0.3, 5.0], [0.0, 0.0, 0.3, 0.0]
    level = torch.tensor([0.1, 0.1, 0.5, 0.99])
    whole, parts = Metrics(loss), Metrics(loss)
    whole.add(rows(loss, scores(chosen, rejected), {"level": level}))
    for cut in (slice(0, 3), slice(3, 4)):
        piece = scores(chosen[cut], rejected[cut])
        parts.add(rows(loss, piece, {"level": level[cut]}))
    record = whole.read()
    assert record == pytest.approx(parts.read())
    assert record["rewards/chosen"] == pytest.approx(10 * sum(chosen) / 4)
    assert record["rewards/accuracies"] == (1 + 0 + 0.5 + 1) / 4  # a tie counts half
    assert record["error/chosen_change"] == pytest.approx(-2 * sum(chosen) / 4)
    assert record["accuracy/level_0.0-0.2"] == 0.5 and record["accuracy/level_0.8-1.0"] == 1.0
    assert "accuracy/level_0.2-0.4" not in record
    assert record["health/saturated"] == 0.25  # the pair with reward margin 50


def test_noise_of_inverted_latents_is_logged_as_a_whole_and_by_level():
    loss = single_loss_objective(LOSSES["logistic"].bind(beta=10.0))
    metrics = Metrics(loss)
    info = {"level": torch.tensor([0.1, 0.1, 0.99]), "noise/rms": torch.tensor([0.4, 0.6, 0.9])}
    metrics.add(rows(loss, scores([0.1, 0.2, 0.3], [0.0, 0.0, 0.0]), info))
    record = metrics.read()
    assert record["noise/rms"] == pytest.approx(1.9 / 3)
    assert record["noise/level_0.0-0.2"] == pytest.approx(0.5) and record["noise/level_0.8-1.0"] == pytest.approx(0.9)
    assert "noise/level_0.2-0.4" not in record


def thumbs(logps, desirable, point, lengths=None):
    """Single examples against a reference of zeros."""
    lengths = None if lengths is None else torch.tensor(lengths)
    zero = CandidateLogps(torch.zeros(len(logps)))
    given = {"desirable": torch.tensor(desirable), "baseline": torch.tensor(point)}
    return PairLogps(CandidateLogps(torch.tensor(logps), lengths=lengths), reference_chosen=zero, **given)


def test_single_examples_are_logged_by_side_whatever_the_pieces():
    # Three desirable examples and one that is not; a piece may hold one side alone.
    loss = single_loss_objective(LOSSES["kto"].bind(beta=10.0))
    logps, good, tokens = [0.1, -0.2, 0.4, 0.3], [True, True, True, False], [2, 4, 6, 8]
    level = torch.tensor([0.1, 0.1, 0.5, 0.99])
    whole, parts = Metrics(loss), Metrics(loss)
    scores = thumbs(logps, good, 0.05, tokens)
    whole.add(rows(loss, scores, {"level": level}))
    for cut in (slice(0, 2), slice(2, 3), slice(3, 4)):
        piece = thumbs(logps[cut], good[cut], 0.05, tokens[cut])
        parts.add(rows(loss, piece, {"level": level[cut]}))
    record = whole.read()
    assert record == pytest.approx(parts.read())
    assert record["rewards/chosen"] == pytest.approx(10 * 0.3 / 3) and record["rewards/rejected"] == pytest.approx(3.0)
    assert record["rewards/margins"] == pytest.approx(1.0 - 3.0)
    assert record["logps/chosen"] == pytest.approx(0.1) and record["logps/rejected"] == pytest.approx(0.3)
    assert (record["length/chosen"], record["length/rejected"]) == (4.0, 8.0)
    assert record["rewards/accuracies"] == 0.5  # above the point and desirable: the first and the third
    assert record["kl"] == pytest.approx(0.05)
    assert record["health/margin_size"] == pytest.approx((0.5 + 2.5 + 3.5 + 2.5) / 4)
    assert record["error/chosen_change"] == pytest.approx(-0.2) and record["error/rejected_change"] == pytest.approx(
        -0.6
    )
    assert record["accuracy/level_0.8-1.0"] == 0.0
    one_side = Metrics(loss)
    one_side.add(rows(loss, thumbs([0.1], [True], 0.0), {}))
    assert "rewards/rejected" not in one_side.read() and "rewards/margins" not in one_side.read()


def test_metrics_of_pairs_hold_lengths_and_the_ranking_without_reference():
    loss = single_loss_objective(LOSSES["ipo"].bind(beta=0.5))
    sides = [([-4.0, -9.0], [4, 3]), ([-5.0, -8.0], [1, 2]), ([-6.0, -9.0], [4, 3]), ([-6.0, -6.0], [1, 2])]
    scores = PairLogps(*(CandidateLogps(torch.tensor(logps), lengths=torch.tensor(n)) for logps, n in sides))
    metrics = Metrics(loss)
    metrics.add(rows(loss, scores, {}))
    record = metrics.read()
    assert record["accuracy/ranking"] == 0.5  # without the reference, and of sums
    assert (record["length/chosen"], record["length/rejected"]) == (3.5, 1.5)
    # Rewards are those that the loss sees, of means over tokens.
    assert record["rewards/chosen"] == pytest.approx(0.5 * (2 / 4 + 0 / 3) / 2)
    assert record["rewards/rejected"] == pytest.approx(0.5 * (1 / 1 - 2 / 2) / 2)
    assert record["rewards/accuracies"] == 0.5  # 2/4 against 1, 0 against -1
    assert record["logps/chosen"] == -6.5


def test_a_window_goes_through_json():
    loss = single_loss_objective(LOSSES["logistic"].bind(beta=10.0))
    one, other = Metrics(loss), Metrics(loss)
    piece = scores([0.1, 0.7], [0.3, 0.2])
    one.add(rows(loss, piece, {}))
    other.load_state(json.loads(json.dumps(one.state())), torch.device("cpu"))
    one.add(rows(loss, piece, {}))
    other.add(rows(loss, piece, {}))
    assert one.read() == other.read() and "error/chosen_change" not in one.read()
