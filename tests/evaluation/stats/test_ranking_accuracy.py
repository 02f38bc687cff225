"""Ranking accuracy, displacement and calibration from a run's last evaluation on held-out pairs."""

import math

import pytest

from diffalign.evaluation.stats.ranking_accuracy import held_out_numbers

TABLE = {"both": 0.5, "gained": 0.125, "lost": 0.0625, "neither": 0.3125}
ROW = {
    "eval_pairs": 64,
    **{f"eval_ranking/{name}": share for name, share in TABLE.items()},
    "eval_accuracy/ranking_ideal": 0.9375,
    "eval_ranking/gap": 0.3125,
    "eval_ranking/flip_loss": 0.4,
    "eval_displacement/chosen": -2.0,
    "eval_displacement/chosen_error": 0.5,
    "eval_displacement/rejected": -5.0,
    "eval_displacement/suppression": 5 / 3,
    "eval_calibration/error": 0.2,
    "eval_calibration/factor": 0.3,
}


def test_the_last_evaluation_becomes_a_table_of_counts():
    result = held_out_numbers([{"eval_pairs": 3}, ROW, {"step": 9}])
    table = result.ranking
    assert (table.pairs, table.both, table.gained, table.lost, table.neither) == (64, 32, 8, 4, 20)
    assert table.flipped.rate == pytest.approx(8 / 28) and table.flipped.low < 8 / 28 < table.flipped.high
    assert (result.displacement.gain, result.displacement.drop) == (-2.0, 5.0) and math.isnan(
        result.displacement.token_ratio
    )


def test_the_summary_has_flips_gap_displacement_and_overconfidence():
    summary = " ".join(held_out_numbers([ROW]).summary())
    assert "ranks 28 of 64 held-out pairs wrong; training flipped 8" in summary and "unlearnt 4" in summary
    assert "would rank 94 % right, 31 points above this one" in summary
    assert "Likelihood displacement" in summary and "by 2 on average, +- 1" in summary
    assert "overconfident by 20 points" in summary and "factor of 0.3" in summary


@pytest.mark.parametrize(
    "change",
    [{"chosen": 2.0}, {"chosen_error": 1.5}, {"chosen": -5.0, "rejected": -2.0}],
    ids=["the chosen one gained", "within its error", "the margin fell"],
)
def test_displacement_is_reported_only_for_a_significant_fall_with_a_growing_margin(change):
    row = {**ROW, **{f"eval_displacement/{name}": value for name, value in change.items()}}
    assert not held_out_numbers([row]).displacement.summary()


def test_runs_without_held_out_metrics_have_no_summary():
    for rows in ([], [{"eval_pairs": 0}], [{"eval_pairs": 5, "eval_loss": 0.1}], [{**ROW, "eval_pairs": 0}]):
        result = held_out_numbers(rows)
        assert result.ranking is None or rows[0]["eval_pairs"]
        assert not result.summary()
