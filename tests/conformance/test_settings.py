"""The settings that all our losses share beside TRL's: other divergences, length desensitisation, sums of losses."""

import math
from dataclasses import replace

import pytest
import torch

from diffalign.losses.divergences import divergence_reward
from tests.conformance.sides import (
    NEEDS_TRL,
    assert_apart,
    assert_same,
    columns,
    opened,
    ours,
    recomputed,
    scores_of,
    trl,
)
from tests.conformance.table import SAME, SETTINGS

pytestmark = NEEDS_TRL


@pytest.mark.parametrize("name", SETTINGS)
def test_a_setting_does_what_it_does_in_trl(settings, tmp_path, name):
    (setting, pairs), (loss, trainer, options) = settings["plain"], SETTINGS[name]
    theirs, _ = trl(setting, trainer, [columns(pair) for pair in pairs], **options)
    assert_same(ours(opened(setting, tmp_path / "run", loss, pairs)), theirs)
    bare = {key: value for key, value in loss.items() if key not in ("f_divergence", "f_alpha", "ld_alpha")}
    assert_apart(ours(opened(setting, tmp_path / "bare", bare, pairs)), theirs)


def test_trl_bends_a_sum_and_then_takes_the_mean_over_tokens(settings, tmp_path):
    setting, pairs = settings["plain"]
    loss = {"name": "logistic", "beta": 2.0, "per_token": True, "f_divergence": "js"}
    options = {"loss_type": ["sigmoid_norm"], "beta": 2.0, "f_divergence_type": "js_divergence"}
    theirs, _ = trl(setting, "DPO", [columns(pair) for pair in pairs], **options)
    run = opened(setting, tmp_path / "run", loss, pairs)

    def as_theirs(policy):
        scores = scores_of(policy, policy.pair_tokenizer.token_pairs(pairs))
        chosen, rejected = (
            # The constant no longer cancels.
            math.log(2.0) + divergence_reward(x, "js")
            for x in scores.logratios
        )
        gap = chosen / scores.chosen.lengths - rejected / scores.rejected.lengths
        return -torch.nn.functional.logsigmoid(2.0 * gap).mean()

    assert_same(recomputed(run, as_theirs), theirs)
    assert_apart(ours(opened(setting, tmp_path / "ours", loss, pairs)), theirs)


def test_a_sum_of_losses_is_trls_with_the_same_factors(settings, tmp_path):
    setting, pairs = settings["plain"]
    options = {"loss_type": ["sigmoid", "bco_pair"], "loss_weights": [0.8, 0.3], "beta": 0.2}
    theirs, _ = trl(setting, "DPO", [columns(pair) for pair in pairs], **options)
    more = {"name": "bco_pair", "beta": 0.2, "times": 0.3}
    both = {"name": "logistic", "beta": 0.2, "times": 0.8, "plus": [more]}
    assert_same(ours(opened(setting, tmp_path / "run", both, pairs)), theirs)


def test_trl_adds_the_likelihood_of_cpo_as_a_mean_over_all_tokens_of_a_batch(settings, tmp_path):
    setting, pairs = settings["plain"]
    options = SAME["cpo"][2] | {"cpo_alpha": 0.5}
    theirs, rows = trl(setting, "CPO", [columns(pair) for pair in pairs], **options)
    mean = sum(len(row["chosen_input_ids"]) - len(row["prompt_input_ids"]) for row in rows) / len(pairs)
    summed = {"name": "cpo", "beta": 0.2, "weight": 0.5 / mean, "average": False}
    assert_same(ours(opened(setting, tmp_path / "summed", summed, pairs)), theirs)
    average = {"name": "cpo", "beta": 0.2, "weight": 0.5}
    assert_apart(ours(opened(setting, tmp_path / "average", average, pairs)), theirs)


def test_chosen_answers_of_one_length_have_the_likelihood_of_trls_cpo(settings, tmp_path):
    setting, pairs = settings["plain"]
    pairs = [replace(pair, chosen=f"{pair.chosen:x<10.10}") for pair in pairs]
    theirs, _ = trl(setting, "CPO", [columns(pair) for pair in pairs], **SAME["cpo"][2] | {"cpo_alpha": 0.5})
    average = {"name": "cpo", "beta": 0.2, "weight": 0.5}
    assert_same(ours(opened(setting, tmp_path / "run", average, pairs)), theirs)
