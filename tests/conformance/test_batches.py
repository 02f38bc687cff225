"""Losses of TRL in which the examples of a batch meet, or a third answer: AOT's ranks, TPO's gold answers, KTO without
its point, and labels that are not sure.
"""

from dataclasses import replace

import pytest
import torch

from diffalign.errors import ConfigError
from diffalign.losses import LOSSES, AnswerLogps
from tests.conformance.sides import (
    NEEDS_TRL,
    assert_apart,
    assert_same,
    batch_of,
    columns,
    opened,
    ours,
    recomputed,
    scores_of,
    thumb,
    trl,
    with_gold,
)
from tests.conformance.table import SAME

pytestmark = NEEDS_TRL


@pytest.mark.parametrize("name", ["aot", "aot_unpaired"])
def test_a_micro_batch_that_holds_the_whole_batch_has_the_ranks_of_trls(settings, tmp_path, name):
    setting, pairs = other_ranks(settings)
    theirs, _ = trl(setting, "DPO", [columns(pair) for pair in pairs], loss_type=[name], beta=0.2, label_smoothing=0.1)
    loss = {"name": name, "beta": 0.2, "flip": 0.1}
    run = opened(setting, tmp_path / "run", loss, pairs)
    assert run.recipe.train.micro_batch_size == len(pairs)
    assert_same(ours(run), theirs)
    # The ranks decide something here: pair by pair it would be the logistic loss.
    assert_apart(ours(opened(setting, tmp_path / "pairs", loss | {"name": "logistic"}, pairs)), theirs)


@pytest.mark.parametrize("name", ["aot", "aot_unpaired"])
def test_trl_ranks_within_a_micro_batch_and_ours_refuses_to(settings, tmp_path, name):
    setting, pairs = other_ranks(settings)
    half, loss = len(pairs) // 2, {"name": name, "beta": 0.2}
    rows = [columns(pair) for pair in pairs]
    parts = [trl(setting, "DPO", rows[k:] + rows[:k], batch=half, loss_type=[name], beta=0.2)[0] for k in (0, half)]
    run = opened(setting, tmp_path / "run", loss, pairs)
    bound = run.gradient_computer.loss

    def in_halves(policy):
        token_pairs = policy.pair_tokenizer.token_pairs(pairs)
        return sum(bound(scores_of(policy, token_pairs[k : k + half])).mean() for k in (0, half)) / 2.0

    theirs = replace(
        parts[0],
        loss=sum(part.loss for part in parts) / 2.0,
        gradient={key: (value + parts[1].gradient[key]) / 2.0 for key, value in parts[0].gradient.items()},
    )
    assert_same(recomputed(run, in_halves), theirs)
    assert_apart(ours(opened(setting, tmp_path / "ours", loss, pairs)), theirs)
    with pytest.raises(ConfigError, match="micro_batch_size"):
        opened(setting, tmp_path / "halves", loss, pairs, micro=half)


GOLD = {
    "sigmoid": {"name": "tpo", "beta": 0.2, "alpha": 0.7},
    "tpo-l": {"name": "tpo_l", "beta": 2.0, "gamma": 0.5, "alpha": 0.7},
}


@pytest.mark.parametrize("kind", GOLD)
def test_gold_answers_of_one_length_are_learnt_alike(settings, tmp_path, kind):
    (setting, pairs), loss = settings["plain"], GOLD[kind]
    pairs = with_gold(pairs, length=12)
    theirs, _ = trl(
        setting, "TPO", [columns(pair) for pair in pairs], loss_type=kind, beta=loss["beta"], tpo_alpha=loss["alpha"]
    )
    assert_same(ours(opened(setting, tmp_path / "run", loss, pairs)), theirs)


@pytest.mark.parametrize("kind", GOLD)
def test_trl_takes_the_likelihood_of_gold_as_a_mean_over_all_tokens_of_a_batch(settings, tmp_path, kind):
    (setting, pairs), loss = settings["plain"], GOLD[kind]
    pairs = with_gold(pairs)
    theirs, rows = trl(
        setting, "TPO", [columns(pair) for pair in pairs], loss_type=kind, beta=loss["beta"], tpo_alpha=loss["alpha"]
    )
    run = opened(setting, tmp_path / "run", loss, pairs)
    contrast = LOSSES[loss["name"]].bind(**{k: v for k, v in loss.items() if k != "name"} | {"alpha": 0.0})

    def as_theirs(policy):
        token_pairs = policy.pair_tokenizer.token_pairs(pairs)
        gold = scores_of(policy, [replace(q, responses=q.responses[2:]) for q in token_pairs]).chosen
        assert gold.lengths.tolist() == [len(row["reference_ids"]) for row in rows]
        pair = scores_of(policy, [replace(q, responses=q.responses[:2]) for q in token_pairs])
        value = contrast(replace(pair, further={"gold": AnswerLogps(gold)})).mean()
        return value - loss["alpha"] * gold.logps.sum() / gold.lengths.sum()

    assert_same(recomputed(run, as_theirs), theirs)
    assert_apart(ours(opened(setting, tmp_path / "ours", loss, pairs)), theirs)


def test_kto_without_a_point_is_half_of_apo_zero_where_examples_come_from_pairs(settings, tmp_path):
    setting, pairs = settings["plain"]
    run = opened(setting, tmp_path / "singles", {"name": "kto", "beta": 0.2}, pairs, "singles")
    examples = batch_of(run)
    theirs, _ = trl(setting, "KTO", [thumb(one) for one in examples], loss_type="apo_zero_unpaired", beta=0.2)
    halved = {"name": "apo_zero", "beta": 0.2, "times": 0.5}
    assert_same(ours(opened(setting, tmp_path / "pairs", halved, pairs)), theirs)


def test_trls_unpaired_apo_zero_is_kto_at_a_point_of_zero(settings, tmp_path):
    setting, pairs = settings["plain"]
    setting = replace(setting, move=-setting.move, shrink=0.1)  # so that the point lies above zero, where it counts
    weights = {"desirable_weight": 1.25, "undesirable_weight": 0.5}
    run = opened(setting, tmp_path / "run", {"name": "kto", "beta": 0.2, **weights}, pairs, "singles")
    examples = batch_of(run)[:-2]
    rows = [thumb(one) for one in examples]
    theirs, _ = trl(setting, "KTO", rows, loss_type="apo_zero_unpaired", beta=0.2, **weights)

    def at_zero(policy):
        scores = scores_of(policy, policy.pair_tokenizer.token_pairs(examples))
        desirable = torch.tensor([one.desirable for one in examples])
        return run.gradient_computer.loss(replace(scores, desirable=desirable, baseline=torch.zeros(()))).mean()

    assert_same(recomputed(run, at_zero), theirs)
    with_a_point, _ = trl(setting, "KTO", rows, loss_type="kto", beta=0.2, **weights)
    assert_apart(with_a_point, theirs)


@pytest.mark.parametrize("name", ["cpo", "tpo"])
def test_label_smoothing_is_a_probability_of_each_pair(settings, tmp_path, name):
    (setting, pairs), (loss, trainer, options) = settings["plain"], SAME[name]
    pairs = [replace(pair, probability=0.9) for pair in (with_gold(pairs) if name == "tpo" else pairs)]
    theirs, _ = trl(setting, trainer, [columns(pair) for pair in pairs], **options, label_smoothing=0.1)
    assert_same(ours(opened(setting, tmp_path / "run", loss, pairs, labels="column")), theirs)
    assert_apart(ours(opened(setting, tmp_path / "sure", loss, pairs)), theirs)


def test_trl_smooths_a_margin_to_win_by_for_the_winner_alone(settings, tmp_path):
    (setting, pairs), (loss, trainer, options) = settings["plain"], SAME["simpo"]
    pairs = [replace(pair, probability=0.9) for pair in pairs]
    theirs, _ = trl(setting, trainer, [columns(pair) for pair in pairs], **options, label_smoothing=0.1)
    run = opened(setting, tmp_path / "run", loss, pairs, labels="column")
    bound = run.gradient_computer.loss

    def as_theirs(policy):
        value = bound(scores_of(policy, policy.pair_tokenizer.token_pairs(pairs)))
        # -log s(-x) of a loss -log s(x), where x already has the margin taken off
        return (0.9 * value - 0.1 * torch.log(-torch.expm1(-value))).mean()

    assert_same(recomputed(run, as_theirs), theirs)
    assert_apart(ours(opened(setting, tmp_path / "ours", loss, pairs, labels="column")), theirs)


def other_ranks(settings):
    """A setting whose policy ranks the pairs otherwise than its reference does: it moved further, and answers differ
    in their last letter alone. Where one is much longer both rank alike, and AOT is the logistic loss."""
    setting, pairs = settings["plain"]
    return replace(setting, move=0.03), [replace(pair, rejected=f"{pair.chosen[:-1]}?") for pair in pairs]
