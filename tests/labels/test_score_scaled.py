"""SmPO's smoothed labels against the published numbers and their algebra."""

import math
from dataclasses import replace

import pytest
import torch

from diffalign.data.records.pair import Pair
from diffalign.errors import DataError
from diffalign.labels import expected, hard, score_scaled, swapped_by, without_gradient
from diffalign.losses import LOSSES
from diffalign.losses.candidate_logps import CandidateLogps
from diffalign.losses.pair_logps import PairLogps
from tests.losses.logps import drawn

# Published constants of PickScore's bare cosine on Pick-a-Pic v2 (SmPO-Diffusion's released training script).
PICKSCORE = {"low": 0.11543526500463486, "high": 0.28201571106910706}
TABLE = {  # difference of the bare cosines: (p, w at gamma 10), to four decimals
    0.0: (0.5000, 0.0000),
    0.005: (0.5075, 0.1501),
    0.01: (0.5150, 0.3001),
    0.02: (0.5300, 0.5996),
    0.03: (0.5449, 0.8980),
    0.05: (0.5745, 1.4896),
    0.10: (0.6457, 2.9145),
}


def pair(chosen, rejected, name="pickscore", number=0):
    scores = {"chosen": {name: chosen}, "rejected": {name: rejected}}
    return Pair(f"p{number}", "a fox", "a.png", "b.png", scores=scores, source=f"metadata.jsonl:{number + 1}")


def scale(*rows, **settings):
    settings = {"scorer": "pickscore", **PICKSCORE, **settings}
    label = score_scaled([pair(*row, number=n) for n, row in enumerate(rows)], **settings)
    assert label.scale.dtype == torch.float64 and label.probability.tolist() == label.weight.tolist() == [1.0] * len(
        rows
    )
    return label.scale.tolist()


def swapped(row):
    return row[::-1]


@pytest.mark.parametrize("gap", TABLE)
def test_the_published_table_of_weights(gap):
    probability, weight = TABLE[gap]
    (found,) = scale((0.15 + gap, 0.15))
    assert found == pytest.approx(weight, abs=5e-5)
    assert (found / 10 + 1) / 2 == pytest.approx(probability, abs=5e-5)


def test_the_whole_range_is_the_largest_weight():
    (found,) = scale((PICKSCORE["high"], PICKSCORE["low"]))
    assert found == 10 * math.tanh(0.5) == pytest.approx(4.6212, abs=5e-5)


def test_the_published_example_through_the_loss():
    (w,) = scale((0.22, 0.20))
    assert w == pytest.approx(0.5995904742, abs=5e-11)
    errors = {"chosen": -0.001, "rejected": 0.002}  # policy minus reference
    policy = [CandidateLogps(torch.tensor([-e / 2], dtype=torch.float64)) for e in errors.values()]
    zero = CandidateLogps(torch.zeros(1, dtype=torch.float64))
    label = score_scaled([pair(0.22, 0.20)], scorer="pickscore", **PICKSCORE)
    scores = PairLogps(*policy, zero, zero)
    assert 2000 * scores.scaled(label.scale).margin.item() == pytest.approx(1.7987714227, abs=5e-11)
    loss = expected(LOSSES["logistic"].bind(beta=2000.0), scores, label)
    assert loss.item() == pytest.approx(0.1531519774, abs=5e-11)


def test_alpha_one_and_gamma_one_are_the_plain_loss_bit_for_bit():
    loss, scores = LOSSES["logistic"].bind(beta=3.0), drawn(4, dtype=torch.float32)
    pairs = [Pair(str(n), "p", "a", "b") for n in range(4)]
    label = score_scaled(pairs, alpha=1.0, gamma=1.0)
    assert label.scale.tolist() == [1.0] * 4 and not label.relabels
    assert torch.equal(expected(loss, scores, label), expected(loss, scores, hard(pairs)))


def test_equal_scores_cost_log_two_and_have_no_gradient():
    assert scale((0.2, 0.2)) == [0.0]
    leaf = torch.tensor([0.3], dtype=torch.float64, requires_grad=True)
    zero = CandidateLogps(torch.zeros(1, dtype=torch.float64))
    label = score_scaled([pair(0.2, 0.2)], scorer="pickscore", **PICKSCORE)
    loss = expected(LOSSES["logistic"].bind(beta=2000.0), PairLogps(CandidateLogps(leaf), zero, zero, zero), label)
    loss.sum().backward()
    assert loss.item() == math.log(2) and leaf.grad.item() == 0.0
    assert without_gradient(label).tolist() == [True]


def test_swapping_the_candidates_negates_the_scale_and_keeps_the_loss():
    row = (0.19, 0.24)
    one, other = (score_scaled([pair(*r)], scorer="pickscore", **PICKSCORE) for r in (row, swapped(row)))
    assert one.scale.item() == -other.scale.item() < 0
    scores, loss = drawn(1), LOSSES["logistic"].bind(beta=5.0)
    assert torch.equal(expected(loss, scores, one), expected(loss, scores.swapped(), other))


def test_the_source_decides_what_metrics_call_the_chosen_one():
    rows, scores = [(0.19, 0.24), (0.24, 0.19)], drawn(2)
    pairs = [pair(*row, number=n) for n, row in enumerate(rows)]
    labels = {
        source: score_scaled(pairs, scorer="pickscore", source=source, **PICKSCORE)
        for source in ("scorer", "human", "agreement")
    }
    assert torch.equal(labels["scorer"].scale, labels["human"].scale)
    assert swapped_by(scores, labels["scorer"]).margin.tolist() == [-scores.margin[0].item(), scores.margin[1].item()]
    assert swapped_by(scores, labels["human"]).margin.tolist() == scores.margin.tolist()
    assert labels["agreement"].scale.tolist() == [0.0, labels["human"].scale[1].item()]
    assert not labels["agreement"].relabels


@pytest.mark.parametrize(("factor", "shift"), [(1.0, 0.5), (100.0, 0.0), (3.0, -7.0)])
def test_the_unit_of_the_scores_does_not_matter(factor, shift):
    rows = [(0.22, 0.20), (0.13, 0.27)]
    moved = [tuple(factor * value + shift for value in row) for row in rows]
    span = {name: factor * value + shift for name, value in PICKSCORE.items()}
    assert scale(*moved, **span) == pytest.approx(scale(*rows), abs=1e-12)


def test_the_gradient_is_linear_in_the_scale_at_a_given_sigmoid():
    beta, m = 50.0, torch.tensor([0.01], dtype=torch.float64)
    zero = CandidateLogps(torch.zeros(1, dtype=torch.float64))
    label = score_scaled([pair(0.26, 0.20)], scorer="pickscore", **PICKSCORE)
    leaf = m.clone().requires_grad_()
    expected(
        LOSSES["logistic"].bind(beta=beta), PairLogps(CandidateLogps(leaf), zero, zero, zero), label
    ).sum().backward()
    w = label.scale.item()
    assert leaf.grad.item() == pytest.approx(-beta * w * (1 - torch.sigmoid(beta * w * m).item()), rel=1e-12)


def test_scores_beyond_the_range_are_clamped():
    assert scale((0.9, 0.2)) == scale((PICKSCORE["high"], 0.2))
    assert scale((0.2, -1.0)) == scale((0.2, PICKSCORE["low"]))


PUBLISHED = {"low": None, "high": None, "ranges": {"pickscore": (0.0, 1.0)}}


@pytest.mark.parametrize(("unit", "times"), [("cosine", 1.0), ("logit", 100.0)])
def test_the_published_range_gives_the_published_weights_in_either_unit_of_the_scores(unit, times):
    rows = [(times * (0.15 + gap), times * 0.15) for gap in TABLE]
    found = scale(*rows, **PUBLISHED, published_range=unit)
    assert found == pytest.approx([weight for _, weight in TABLE.values()], abs=5e-5)
    whole = scale((times * 0.28201571106910706, times * 0.11543526500463486), **PUBLISHED, published_range=unit)
    assert whole == [pytest.approx(10 * math.tanh(0.5), abs=1e-14)]


def test_scores_beyond_the_published_range_are_clamped_to_it():
    assert scale((0.4, 0.2), **PUBLISHED, published_range="cosine") == scale((PICKSCORE["high"], 0.2))
    assert scale((0.3, 0.4), **PUBLISHED, published_range="cosine") == [0.0]


@pytest.mark.parametrize(
    ("row", "unit", "says"),
    [
        ((22.1, 20.3), "cosine", r"jsonl:1: the score 22.1 by 'pickscore' is no bare cosine.*published_range=logit"),
        ((221.0, 20.3), "cosine", r"221 by 'pickscore' is no bare cosine.*published_range=null"),
        ((20.3, -221.0), "logit", r"221 by 'pickscore' is no cosine times 100.*published_range=null"),
        ((0.22, 0.20), "logit", r"0.22 and 0.2 by 'pickscore' are bare cosines.*published_range=cosine"),
    ],
)
def test_scores_in_another_unit_than_the_published_range_are_refused_instead_of_clamped(row, unit, says):
    with pytest.raises(DataError, match=says):
        scale(row, **PUBLISHED, published_range=unit)


def test_settings_win_over_the_range_of_the_data_one_by_one():
    span = {"low": None, "high": None, "ranges": {"pickscore": (0.0, 1.0)}}
    assert scale((0.6, 0.2), **span) == [pytest.approx(10 * math.tanh(0.2))]
    assert scale((0.6, 0.2), **{**span, "high": 2.0}) == [pytest.approx(10 * math.tanh(0.1))]
    assert scale((0.6, 0.2), **{**span, "low": -1.0}) == [pytest.approx(10 * math.tanh(0.1))]


def test_small_scales_become_exactly_zero():
    assert scale((0.2, 0.199), (0.22, 0.20), (0.199, 0.2), skip_below=0.1) == [
        0.0,
        pytest.approx(0.59959, abs=1e-5),
        0.0,
    ]


def test_a_pair_without_a_score_names_its_row_and_the_command():
    known = [pair(0.22, 0.20), replace(pair(0.2, 0.1, number=1), scores={"chosen": {"pickscore": 0.2}})]
    with pytest.raises(
        DataError, match=r"metadata.jsonl:2: no score of its rejected .*diffalign score .*--scorer pickscore"
    ):
        score_scaled(known, scorer="pickscore", **PICKSCORE)


def test_an_unknown_scorer_names_the_near_miss():
    with pytest.raises(DataError, match="'pikscore'.*Did you mean 'pickscore'"):
        score_scaled([pair(0.22, 0.20)], scorer="pikscore", ranges={"pickscore": (0.0, 1.0)})


def test_a_missing_or_empty_range_is_refused():
    with pytest.raises(DataError, match="smallest and largest score.*diffalign score .*low: "):
        score_scaled([pair(0.22, 0.20)], scorer="pickscore")
    with pytest.raises(DataError, match="low is 0.2 and high is 0.2"):
        score_scaled([pair(0.2, 0.2)], scorer="pickscore", ranges={"pickscore": (0.2, 0.2)})


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"scorer": ""}, "name of a scorer"),
        ({"gamma": 0.0}, "gamma"),
        ({"gamma": float("nan")}, "gamma"),
        ({"alpha": 11.0}, r"alpha.*\[0, 10.0\]"),
        ({"alpha": 1.0, "source": "agreement"}, "nothing to agree with"),
        ({"source": "juge"}, "scorer, human, agreement"),
        ({"skip_below": -1.0}, "skip_below"),
        ({"skip_below": 4.63}, r"within 4.621"),
        ({"published_range": "cosines"}, "cosine, or logit.*got 'cosines'"),
        ({"published_range": "cosine", "low": 0.1}, "has its own low and high"),
        ({"published_range": "cosine", "alpha": 1.0}, "a fixed alpha uses no scores"),
        ({"low": 0.3, "high": 0.2}, "low is 0.3 and high is 0.2"),
    ],
)
def test_impossible_settings_are_refused_even_without_pairs(settings, says):
    with pytest.raises((ValueError, DataError), match=says):
        score_scaled([], **{"scorer": "pickscore", **settings})
