"""Weights by rarity: the most common pair has weight 1, and nothing but the set in hand decides."""

import pytest
from typer.testing import CliRunner

from diffalign.cli import app
from diffalign.data.readers import read_pairs
from diffalign.data.records.score_table import read_scores, with_scores
from diffalign.data.transforms.weight_by_rarity import pair_probabilities, rarity_weights
from diffalign.errors import DataError, UserError
from diffalign.labels.column import column
from tests.data.fixtures import jsonl


def test_the_worked_example():
    assert rarity_weights([0.72, 0.36, 0.09], 0.5) == pytest.approx([1.0, 2**0.5, 8**0.5])


def test_only_the_ratios_within_the_set_count():
    assert rarity_weights([0.36, 0.18, 0.045], 0.5) == pytest.approx(rarity_weights([0.72, 0.36, 0.09], 0.5))
    assert rarity_weights([0.3, 0.2], 0.0) == [1.0, 1.0]
    assert rarity_weights([0.4, 0.1], 1.0) == pytest.approx([1.0, 4.0])


def test_a_pair_is_as_common_as_its_two_bins():
    # winners: three in [0, 1), one in [1, 2]; losers: two and two
    assert pair_probabilities([0.0, 0.1, 0.2, 2.0], [0.0, 0.0, 10.0, 10.0], bins=2) == [0.375, 0.375, 0.375, 0.125]
    assert pair_probabilities([1.0, 1.0], [2.0, 2.0]) == [1.0, 1.0]
    assert pair_probabilities([0.0, 1.0, 2.0], [5.0] * 3, bins=2) == pytest.approx([1 / 3, 2 / 3, 2 / 3])


@pytest.mark.parametrize("probabilities", [[], [0.5, 0.0], [0.5, -0.1], [0.5, float("nan")]])
def test_probabilities_that_are_none_are_refused(probabilities):
    with pytest.raises(DataError):
        rarity_weights(probabilities)


def test_settings_out_of_range_are_refused():
    with pytest.raises(UserError, match="alpha is the strength"):
        rarity_weights([0.5], -1.0)
    with pytest.raises(UserError, match="1 or more; got 0"):
        pair_probabilities([0.0], [0.0], bins=0)


def run(*arguments):
    return CliRunner().invoke(app, ["data", "rarity", *map(str, arguments)])


@pytest.fixture
def pairs(tmp_path):
    scores = [(0.9, 0.1, 0.72), (0.9, 0.1, 0.36), (0.9, 0.1, 0.09), (0.1, 0.9, 0.09)]
    rows = [
        {"prompt": "p", "chosen": f"a{k}", "rejected": f"b{k}", "chosen_clip": w, "rejected_clip": r, "common": p}
        for k, (w, r, p) in enumerate(scores)
    ]
    return jsonl(tmp_path / "pairs.jsonl", rows)


def test_the_command_writes_weights_that_a_label_reads(pairs, tmp_path):
    result = run(pairs)
    assert result.exit_code == 0, result.output
    # p = 9/16 for three pairs, 1/16 for the last
    assert "4 pairs: weights from 1 to 3, mean 1.5" in " ".join(result.output.split())
    dataset = with_scores(read_pairs(pairs), [read_scores(tmp_path / "pairs.scores.weight.jsonl")])
    assert column(dataset.pairs, weight="weight").weight.tolist() == pytest.approx([1.0, 1.0, 1.0, 3.0])


def test_stored_probabilities_take_the_place_of_scores(pairs, tmp_path):
    result = run(pairs, "--probability", "common", "--output", tmp_path / "w.jsonl")
    assert result.exit_code == 0, result.output
    weights = [weight for (weight,) in read_scores(tmp_path / "w.jsonl").rows.values()]
    assert weights == pytest.approx([1.0, 2**0.5, 8**0.5, 8**0.5])


def test_missing_scores_are_named_with_how_to_make_them(pairs, tmp_path):
    result = run(pairs, "--scorer", "clop")
    assert isinstance(result.exception, DataError) and "Did you mean 'clip'" in str(result.exception)
    bare = jsonl(tmp_path / "bare.jsonl", [{"prompt": "p", "chosen": "a", "rejected": "b"}])
    result = run(bare)
    assert isinstance(result.exception, DataError) and "diffalign score" in str(result.exception)
