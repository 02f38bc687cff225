"""Losses that read more than two log-ratios: what they become in special cases, and what they refuse."""

import math
from dataclasses import replace

import pytest
import torch

from diffalign.labels.label import Label, expected
from diffalign.losses import LOSSES, CandidateLogps, PairLogps, settings_of
from diffalign.losses.pairs.srpo import ROLES
from tests.losses.judged import answered, known, language
from tests.losses.logps import drawn, examples, fit, from_margins, with_tokens
from tests.losses.plain import PLAIN

ON_FURTHER = [name for name, row in LOSSES.items() if row.roles]


def of(name, batch, **hyper):
    return LOSSES[name].bind(**hyper)(batch)


def random_pairs(**besides):
    return known(drawn(6, seed=3, scale=10.0), **besides)


def close(found, wanted):
    torch.testing.assert_close(found, wanted, rtol=1e-12, atol=1e-12)


def same_loss_and_slope(found, wanted, batch):
    """Compares two functions of a batch: equal in value and by the chosen candidate's log-probability."""
    leaf = batch.chosen.logps.clone().requires_grad_(True)
    batch = replace(batch, chosen=replace(batch.chosen, logps=leaf))
    values = found(batch), wanted(batch)
    close(*values)
    close(*(torch.autograd.grad(value.sum(), leaf)[0] for value in values))


REDUCED = {
    "modpo": ({"weight": 1.0}, {"rewards": (torch.zeros(6), torch.zeros(6))}),
    "odpo": ({"alpha": 0.0}, {"rewards": (torch.ones(6), torch.zeros(6))}),
    "dno": ({"target": "hard"}, {"rewards": (torch.ones(6), torch.zeros(6))}),
    "vpo": ({"alpha": 0.0}, {"further": {"calibration": answered(torch.arange(6.0))}}),
    "dove": ({}, {"prompts": (torch.arange(6.0), torch.arange(6.0))}),
}


@pytest.mark.parametrize("name", REDUCED)
def test_what_adds_nothing_leaves_the_logistic_loss(name):
    hyper, besides = REDUCED[name]
    found, logistic = (lambda s: of(name, s, beta=0.1, **hyper)), (lambda s: of("logistic", s, beta=0.1))
    same_loss_and_slope(found, logistic, random_pairs(**besides))


def test_equal_rewards_of_the_others_sharpen_the_logistic_loss():
    batch = random_pairs(rewards=(torch.full((6,), 3.0), torch.full((6,), 3.0)))
    close(of("modpo", batch, beta=0.1, weight=0.25), of("logistic", batch, beta=0.4))


def test_what_others_say_for_the_chosen_candidate_has_to_be_outdone():
    cost = lambda g_w, g_l: of("modpo", language(rewards=(g_w, g_l)), beta=0.1, weight=0.5).item()
    assert cost(0.5, 0.0) > cost(0.0, 0.0) > cost(-0.5, 0.0)
    step = 1e-6  # slope (1 - s(u)) / weight by the weighed reward
    u = (0.15 - 0.25) / 0.5
    slope = (cost(0.25 + step, 0.0) - cost(0.25 - step, 0.0)) / (2 * step)
    assert slope == pytest.approx(1 / (1 + math.exp(u)) / 0.5, rel=1e-8)


def test_doubt_about_a_label_is_a_straight_line():
    gap = torch.linspace(-2.0, 2.0, 6, dtype=torch.float64)
    batch = random_pairs(rewards=(gap, torch.zeros(6)))
    z = torch.sigmoid(3.0 * gap)
    line = of("logistic", batch, beta=0.1) + (1 - z) * 0.1 * batch.margin
    close(of("dno", batch, beta=0.1, scale=3.0), line)
    close(of("dno", batch.swapped(), beta=0.1, scale=3.0), line)


def test_pairs_with_too_small_a_gap_do_not_count():
    batch = random_pairs(rewards=(torch.tensor([0.0, 0.2, 0.5, 0.6, -0.7, 0.4]), torch.zeros(6)))
    found = of("dno", batch, beta=0.1, target="hard", gap=0.5)
    counts = torch.tensor([False, False, True, True, True, False])
    assert torch.equal(found, torch.where(counts, of("logistic", batch, beta=0.1), 0.0))
    assert LOSSES["dno"].bind(beta=0.1, gap=0.5).at_zero is None


def test_gpo_with_win_rates_minus_a_half_is_sppo():
    won, lost = torch.rand(2, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    score = random_pairs(rewards=(won - 0.5, lost - 0.5))
    close(of("gpo", score, beta=0.01, centred=False), of("sppo", random_pairs(rewards=(won, lost)), beta=0.01))
    alone = random_pairs(rewards=(won, 1 - won))
    close(of("sppo", score_of(won, lost), beta=0.01, single=True), of("sppo", alone, beta=0.01))


def score_of(won, lost):
    return random_pairs(rewards=(won, lost))


def test_a_target_stops_at_the_clamp_and_holds_from_both_sides():
    loss = LOSSES["gpo"].bind(beta=0.1, clamp=2.0, centred=False)
    at = lambda r: loss(known(from_margins([r]), rewards=(50.0, 0.0))).item()
    assert at(2.0) == 0.0 and at(1.0) == pytest.approx(at(3.0)) == pytest.approx(0.5)
    assert loss(known(from_margins([2.0]), rewards=(-50.0, 0.0))).item() == 8.0
    free = LOSSES["gpo"].bind(beta=0.1, centred=False)
    assert free(known(from_margins([500.0]), rewards=(50.0, 0.0))).item() == 0.0


def test_gpo_on_raw_scores_raises_the_better_and_lowers_the_worse_answer():
    # A reward model's scores are often all positive; as targets they would raise the rejected answer too.
    def pull(centred, shift=0.0):
        batch = random_pairs(rewards=(torch.full((6,), 7.0 + shift), torch.full((6,), 5.0 + shift)))
        sides = [replace(side, logps=torch.zeros(6, dtype=torch.float64).requires_grad_(True)) for side in batch.pair]
        zero = replace(batch.chosen, logps=torch.zeros(6, dtype=torch.float64))
        batch = replace(batch, chosen=sides[0], rejected=sides[1], reference_chosen=zero, reference_rejected=zero)
        return torch.autograd.grad(of("gpo", batch, beta=0.1, centred=centred).sum(), [s.logps for s in sides])

    chosen, rejected = pull(True)
    assert chosen.tolist() == pytest.approx([-10.0] * 6) and rejected.tolist() == pytest.approx([10.0] * 6)
    assert all(torch.allclose(a, b) for a, b in zip(pull(True), pull(True, shift=100.0), strict=True))
    assert all((side < 0).all() for side in pull(False))


def test_gpo_refuses_raw_scores_as_rewards_that_are_taken_as_they_are():
    fits, raw = LOSSES["gpo"].fits_rewards, (torch.tensor([22.5, 21.0]), torch.tensor([20.1, 19.0]))
    with pytest.raises(ValueError, match=r"all 4 of the data are above 0 \(from 19 to 22.5\).*rewards=advantage"):
        fits({"centred": False}, *raw)
    with pytest.raises(ValueError, match="below 0"):
        fits({"centred": False}, -raw[0], -raw[1])
    fits({"centred": True}, *raw)
    fits({"centred": False}, torch.tensor([1.5, 0.2]), torch.tensor([-0.5, 0.1]))  # of all pairs, both may be above


@pytest.mark.parametrize("rewards", [(1.2, 0.3), (0.4, -0.1), (math.nan, 0.5)])
def test_win_rates_that_are_none_are_refused(rewards):
    with pytest.raises(ValueError, match=r"win rates in \[0, 1\].*(1.2|-0.1|nan).*choose gpo or dno"):
        of("sppo", language(rewards=rewards), beta=0.1)


@pytest.mark.parametrize("relative", [False, True])
@pytest.mark.parametrize("name, hyper", [("gpo", {}), ("sppo", {}), ("inpo", {})])
def test_a_relative_regression_is_the_same_one_measured_in_targets(name, hyper, relative):
    batch = random_pairs(rewards=(torch.full((6,), 0.9), torch.full((6,), 0.2)), previous=drawn_twice())
    plain, scaled = (of(name, batch, beta=0.01, relative=r) for r in (False, True))
    close(1e-4 * plain, scaled)


def drawn_twice():
    other = drawn(6, seed=8, scale=10.0)
    return other.chosen.logps, other.rejected.logps


def test_in_the_first_round_the_previous_policy_is_the_reference():
    batch = drawn(6, seed=3, scale=10.0)
    batch = known(batch, previous=(batch.reference_chosen.logps, batch.reference_rejected.logps))
    for share in (0.0, 0.3, 1.0):
        found = lambda s, share=share: of("inpo", s, beta=0.1, tau_over_eta=share)
        same_loss_and_slope(found, lambda s: of("ipo", s, beta=0.1, per_token=False), batch)


def test_a_share_of_one_forgets_the_previous_policy_and_of_none_the_reference():
    batch, other = random_pairs(previous=drawn_twice()), drawn(6, seed=9, scale=10.0)
    found = lambda s, share: of("inpo", s, beta=0.1, tau_over_eta=share)
    moved = replace(batch, extra_models={"previous": (other.chosen, other.rejected)})
    assert torch.equal(found(moved, 1.0), found(batch, 1.0)) and not torch.equal(found(moved, 0.5), found(batch, 0.5))
    moved = replace(batch, reference_chosen=other.chosen, reference_rejected=other.rejected)
    close(found(moved, 0.0), found(batch, 0.0))


def test_a_margin_against_the_previous_policy_weighs_its_tokens_too():
    batch = fit(LOSSES["inpo"].bind(beta=0.1), with_tokens())
    previous = (batch.chosen, batch.rejected)
    batch = replace(batch, extra_models={"previous": previous})
    found = LOSSES["inpo"].bind(beta=0.1, tau_over_eta=0.0, ld_alpha=0.25)(batch)
    close(found, torch.full_like(found, 25.0))  # the policy is the previous one: no margin


def test_longer_answers_have_no_tokens_behind_a_third_one():
    assert {name for name in ON_FURTHER if "ld_alpha" in settings_of(LOSSES[name])} == set()


def test_a_loss_of_the_previous_policy_is_refused_without_it():
    with pytest.raises(ValueError, match="log-probabilities under the previous policy.*compute them too"):
        of("inpo", language(), beta=0.1)


@pytest.mark.parametrize("name", ["gpo", "sppo", "dno", "odpo", "modpo"])
def test_a_loss_of_rewards_is_refused_without_them_and_with_scaled_logratios(name):
    hyper = {"beta": 0.1, **({"weight": 0.5} if name == "modpo" else {})}
    with pytest.raises(ValueError, match="there is none of the chosen candidate.*diffalign score"):
        of(name, language(), **hyper)
    one = torch.ones(1, dtype=torch.float64)
    with pytest.raises(ValueError, match="is no function of beta times one margin"):
        expected(LOSSES[name].bind(**hyper), language(rewards=(0.6, 0.5)), Label(one, one, scale=one))


def test_without_revisions_the_joint_term_is_the_squared_loss_of_a_target_twice_as_far():
    batch = random_pairs(further=dict.fromkeys(ROLES, answered(torch.zeros(6))))
    found = lambda s: of("srpo", s, beta=0.1, mix=1.0)
    same_loss_and_slope(found, lambda s: 4 * of("ipo", s, beta=0.05, relative=True, per_token=False), batch)


def test_without_a_reference_the_better_two_of_three_are_compared_as_ever():
    batch = random_pairs(further={"gold": answered(torch.zeros(6))})
    zero = CandidateLogps(torch.zeros(6, dtype=torch.float64))
    free = replace(batch, reference_chosen=zero, reference_rejected=zero)
    same_loss_and_slope(
        lambda s: of("tpo", s, beta=0.2, alpha=0.0),
        lambda s: of("logistic", replace(free, chosen=s.chosen), beta=0.2),
        batch,
    )


def test_the_chosen_answer_as_gold_adds_fine_tuning():
    batch = with_tokens()
    batch = replace(batch, further={"gold": answered(batch.chosen.logps)})
    batch.further["gold"] = replace(batch.further["gold"], policy=batch.chosen)
    difference = of("tpo", batch, beta=0.2, alpha=0.7) - of("tpo", batch, beta=0.2, alpha=0.0)
    close(difference, 0.7 * of("sft", batch))
    simpo = of("simpo", batch, beta=2.0, gamma_beta_ratio=0.25)
    close(of("tpo_l", batch, beta=2.0, gamma=0.5, alpha=0.0), simpo)


def test_the_chosen_answer_as_calibration_is_the_regularised_loss():
    batch = random_pairs()
    chosen = answered(batch.chosen.logps, batch.reference_chosen.logps)
    batch = replace(batch, further={"calibration": chosen})
    constant = 0.3 * 0.1 * batch.reference_chosen.logps
    close(of("vpo", batch, beta=0.1, alpha=0.3), of("rpo", batch, beta=0.1, eta=0.3) + constant)


def test_a_calibration_answer_pulls_with_its_weight_until_it_is_clipped():
    for sign, way in (("offline", -1), ("online", 1)):
        logp = torch.tensor([2.0, 4.0], dtype=torch.float64, requires_grad=True)
        batch = known(from_margins([0.0, 0.0]), further={"calibration": answered(logp, torch.zeros(2))})
        found = of("vpo", batch, beta=0.5, alpha=0.2, sign=sign, clip=1.5).sum()
        (slope,) = torch.autograd.grad(found, logp)
        assert slope.tolist() == pytest.approx([way * 0.2 * 0.5, 0.0])


def test_a_rationale_is_a_term_that_reads_a_further_answer_only():
    batch = random_pairs(further={"rationale": answered(torch.full((6,), -40.0))})
    assert torch.equal(of("rationale", batch, gamma=0.0), torch.zeros(6, dtype=torch.float64))
    close(of("rationale", batch, gamma=0.0, form="logsigmoid"), torch.full((6,), math.log(2), dtype=torch.float64))


def test_equal_prompts_cost_log_two_and_teach_nothing():
    leaf = torch.tensor([1.5, -2.0], dtype=torch.float64, requires_grad=True)
    zero = CandidateLogps(torch.zeros(2, dtype=torch.float64))
    batch = PairLogps(CandidateLogps(leaf), zero, zero, zero)
    same = {"augmented_chosen": answered(leaf, torch.zeros(2)), "augmented_rejected": answered(torch.zeros(2))}
    found = of("margin_contrast", known(batch, further=same), beta=0.1)
    (slope,) = torch.autograd.grad(found.sum(), leaf)
    assert found.tolist() == pytest.approx([math.log(2)] * 2) and slope.tolist() == [0.0, 0.0]


def test_a_denoiser_has_no_prompt_probability_and_needs_none():
    batch = random_pairs()
    assert batch.chosen.prompts is None
    close(of("dove", batch, beta=0.1), of("logistic", batch, beta=0.1))


def test_a_prompt_is_taught_only_where_the_two_differ():
    def slope(one, other):
        policy = torch.tensor([one], dtype=torch.float64, requires_grad=True)
        batch = known(from_margins([0.3]), prompts=(0.0, other))
        batch = replace(batch, chosen=replace(batch.chosen, prompts=policy))
        if one == other:  # the same prompt: one tensor on both sides
            batch = replace(batch, rejected=replace(batch.rejected, prompts=policy))
        return torch.autograd.grad(of("dove", batch, beta=0.1).sum(), policy)[0].item()

    assert slope(1.0, 1.0) == 0.0 and slope(1.0, 2.0) < 0.0


def test_a_gate_that_drops_a_candidate_drops_its_prompt():
    batch = known(from_margins([0.3]), prompts=(2.0, -1.0)).gated(torch.zeros(1))
    assert batch.rejected.prompts.tolist() == batch.reference_rejected.prompts.tolist()


def test_turning_a_pair_round_turns_its_mirrored_answers_round():
    named = {"chosen_after_rejected": 1.0, "rejected_after_chosen": -0.5}
    batch = language(further={**named, "gold": 7.0}, rewards=(0.9, 0.2))
    turned = batch.swapped()
    found = {role: answer.logratio.item() for role, answer in turned.further.items()}
    assert found == {"chosen_after_rejected": -0.5, "rejected_after_chosen": 1.0, "gold": 7.0}
    assert [turned.reward(role).item() for role in ("chosen", "rejected")] == [0.2, 0.9]
    back = turned.swapped()
    assert {role: a.logratio.item() for role, a in back.further.items()} == {**named, "gold": 7.0}


def test_swapping_a_pair_with_revisions_negates_the_bracket():
    batch = fit(LOSSES["srpo"].bind(beta=1.0), drawn(5))
    bracket = lambda s: 1.0 - of("srpo", s, beta=1.0, mix=1.0).sqrt()
    reviser = PLAIN["srpo"].formula
    turned = [reviser(e, beta=1.0, mix=0.0) for e in examples(batch.swapped())]
    assert of("srpo", batch.swapped(), beta=1.0, mix=0.0).tolist() == pytest.approx(turned)
    total = lambda s: (
        s.chosen_logratio - s.rejected_logratio + s.further[ROLES[0]].logratio - s.further[ROLES[1]].logratio
    )
    close(total(batch.swapped()), -total(batch))
    assert bracket(batch).isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", ON_FURTHER)
def test_extreme_further_answers_stay_finite(name, dtype):
    for hyper in PLAIN[name].settings:
        loss = LOSSES[name].bind(**hyper)
        batch = fit(loss, from_margins([0.0, 1e4, -1e4], dtype))
        leaf = torch.tensor([1e4, -1e4, 1e4], dtype=dtype, requires_grad=True)
        further = {r: replace(a, policy=replace(a.policy, logps=leaf)) for r, a in batch.further.items()}
        found = loss(replace(batch, further=further))
        (slope,) = torch.autograd.grad(found.sum(), leaf)
        assert found.isfinite().all() and slope.isfinite().all()


@pytest.mark.parametrize("name", ON_FURTHER)
def test_a_missing_answer_is_named(name):
    loss = LOSSES[name].bind(**PLAIN[name].settings[0])
    with pytest.raises(ValueError, match=f"reads a further answer, '({'|'.join(loss.loss.roles)})'.*a column"):
        loss(language())
