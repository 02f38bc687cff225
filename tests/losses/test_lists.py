"""Losses on ranked lists: what they reduce to, and which way each candidate is pulled."""

import math
from dataclasses import replace

import pytest
import torch

from diffalign.losses import LOSSES, AnswerLogps, CandidateLogps, PairLogps
from diffalign.losses.lists.tree_po import lambda_weights
from diffalign.losses.lists.tree_po_steps import step_margin, step_rewards
from tests.losses.logps import drawn, fit
from tests.losses.test_golden_lists import listed


def in_order(batch, order):
    """The same candidates at other places of the list."""
    answers, names = list(batch.ranked.values()), list(batch.ranked)
    picked = [answers[k] for k in order]
    first, *between, last = picked
    return PairLogps(
        *(first.policy, last.policy, first.reference, last.reference),
        further=dict(zip(names[1:-1], between, strict=True)),
        rewards={name: batch.rewards[names[k]] for name, k in zip(names, order, strict=True)},
    )


def pulls(loss, batch):
    """The derivative by each candidate's log-probability, best first."""
    leaves = {role: a.policy.logps.clone().requires_grad_(True) for role, a in batch.ranked.items()}
    answers = {
        role: AnswerLogps(replace(a.policy, logps=leaves[role]), a.reference) for role, a in batch.ranked.items()
    }
    further = {role: a for role, a in answers.items() if role.isdigit()}
    given = replace(batch, chosen=answers["chosen"].policy, rejected=answers["rejected"].policy, further=further)
    return torch.stack(torch.autograd.grad(loss(given).sum(), list(leaves.values())))


@pytest.mark.parametrize("beta", [0.1, 2000.0])
def test_two_candidates_are_a_pair(beta):
    batch = drawn(6, scale=1 / beta)
    torch.testing.assert_close(
        LOSSES["plackett_luce"].bind(beta=beta)(batch), LOSSES["logistic"].bind(beta=beta)(batch)
    )
    rewards = {"chosen": torch.ones(6), "rejected": torch.zeros(6)}
    uniform = LOSSES["tree_po"].bind(beta=beta, weights="uniform")
    torch.testing.assert_close(uniform(replace(batch, rewards=rewards)), LOSSES["logistic"].bind(beta=beta)(batch))


@pytest.mark.parametrize("count", [2, 3, 5])
def test_at_the_start_a_ranking_costs_the_logarithm_of_the_number_of_orders(count):
    loss = LOSSES["plackett_luce"].bind(beta=0.3)(listed([0.0] * count))
    assert loss.item() == pytest.approx(math.log(math.factorial(count)), rel=1e-14)


def test_rewards_of_equal_gaps_make_the_ranking_without_a_reference_a_simple_one():
    # Two candidates, gap 1: the logistic loss of means without a reference.
    batch = listed((-3.0, -5.0), rewards=(1.0, 0.0), tokens=(3, 4))
    expected = math.log1p(math.exp(-(-1.0 + 1.25)))
    assert LOSSES["pro"].bind(sft=0.0)(batch).item() == pytest.approx(expected, rel=1e-14)


@pytest.mark.parametrize("name, hyper", [("plackett_luce", {"beta": 0.7}), ("tree_po", {"beta": 0.7}), ("pro", {})])
def test_the_best_is_pulled_up_and_the_worst_down(name, hyper):
    loss = LOSSES[name].bind(**hyper)
    best, *_, worst = pulls(loss, fit(loss, drawn(40, seed=3, scale=2.0)))
    assert (best < 0).all() and (worst > 0).all()


def test_what_lies_between_goes_either_way():
    middle = pulls(LOSSES["plackett_luce"].bind(beta=1.0), fit(LOSSES["plackett_luce"].bind(beta=1.0), drawn(40)))[1]
    assert (middle < 0).any() and (middle > 0).any()


def test_a_tree_does_not_ask_in_which_order_its_leaves_stand():
    loss = LOSSES["tree_po"].bind(beta=0.5)
    batch = fit(loss, drawn(5, scale=2.0))
    for order in ([3, 2, 1, 0], [1, 3, 0, 2]):
        torch.testing.assert_close(loss(in_order(batch, order)), loss(batch), rtol=1e-13, atol=0)


@pytest.mark.parametrize("name", ["tree_po", "plackett_luce"])
def test_what_all_candidates_of_a_list_gain_alike_changes_nothing(name):
    loss = LOSSES[name].bind(beta=0.5)
    gained = [loss(listed([x + shift for x in (0.4, -1.0, 0.2)], rewards=(1.0, 0.6, 0.1))) for shift in (0.0, 7.0)]
    torch.testing.assert_close(*gained, rtol=1e-12, atol=0)


def test_ties_teach_nothing():
    loss = LOSSES["tree_po"].bind(beta=0.5)
    assert loss(listed((1.0, -2.0, 0.5), rewards=(0.5, 0.5, 0.5))).item() == 0.0
    half = listed((1.0, -2.0, 0.5), rewards=(0.5, 0.5, 0.0))
    assert pulls(loss, half)[2] > 0
    flat = LOSSES["pro"].bind(sft=0.0)
    batch = listed((-1.0, -2.0, -0.5), rewards=(0.5, 0.5, 0.5), tokens=(1, 1, 1))
    assert flat(batch).item() == pytest.approx(math.log(6), rel=1e-14) and not pulls(flat, batch).any()


def test_weights_are_those_of_the_ranks_now_and_carry_no_gradient():
    rewards = torch.tensor([[0.15, 0.30, -0.05]], dtype=torch.float64, requires_grad=True)
    weights = lambda_weights(rewards, torch.tensor([[1.0, 0.5, 0.0]], dtype=torch.float64))
    assert [f"{weights[0, i, j].item():.6f}" for i, j in ((0, 1), (0, 2), (1, 2))] == [
        "0.311905",
        "0.188892",
        "0.298792",
    ]
    assert not weights.requires_grad and torch.equal(weights, weights.mT) and not weights.diagonal(0, 1, 2).any()


def stepped(rewards, states):
    """An answer of one list, by the logratio and the state of each step (two tokens each)."""
    parts = torch.tensor([[x / 2 for x in rewards for _ in range(2)]], dtype=torch.float64)
    steps = torch.arange(len(rewards)).repeat_interleave(2)[None]
    states = torch.tensor(states, dtype=torch.float64).T[:, None]
    return AnswerLogps(
        CandidateLogps(parts.sum(1), parts, steps=steps, states=states), CandidateLogps(0 * parts.sum(1), 0 * parts)
    )


def stepwise(answers, rewards):
    """A list of such answers, best first."""
    names = ["chosen", *map(str, range(2, len(answers))), "rejected"]
    first, *between, last = answers
    return PairLogps(
        *(first.policy, last.policy, first.reference, last.reference),
        further=dict(zip(names[1:-1], between, strict=True)),
        rewards={n: torch.tensor([r], dtype=torch.float64) for n, r in zip(names, rewards, strict=True)},
    )


def turned(cosine):
    """A state of this cosine with the state (1, 0)."""
    return (cosine, math.sqrt(1 - cosine**2))


def between(one, other):
    sides = [
        (step_rewards(a, a.policy.states.shape[2]), a.policy.states, a.policy.steps.amax(1) + 1) for a in (one, other)
    ]
    width = max(r.shape[1] for r, _, _ in sides)
    wide = lambda x: torch.nn.functional.pad(x, (0, width - x.shape[-1]))
    rewards, states, counts = zip(*sides, strict=True)
    return step_margin(tuple(map(wide, rewards)), tuple(map(wide, states)), counts).item()


def test_like_steps_count_up_to_double():
    # Cosines 0.9 and 0.2, step rewards 0.1 and 0.4 ahead: 1.9 * 0.1 + 1.2 * 0.4 = 0.67, plainly 0.5.
    one, other = stepped([0.3, 0.5], [(1, 0), (1, 0)]), stepped([0.2, 0.1], [turned(0.9), turned(0.2)])
    assert between(one, other) == pytest.approx(0.67) and between(other, one) == pytest.approx(-0.67)
    plain = stepped([0.2, 0.1], [(0, 1), (0, 1)])
    assert between(one, plain) == pytest.approx(0.5)
    assert between(one, stepped([0.2, 0.1], [(-1, 0), (-1, 0)])) == pytest.approx(0.0)


def test_what_a_longer_answer_has_more_belongs_to_its_last_shared_step():
    one, short = stepped([0.3, 0.5, 0.7], [(1, 0), (1, 0), (0, 3)]), stepped([0.1, 0.2], [(1, 0), (0, 1)])
    # The merged state is (1, 3), of cosine 3 / sqrt(10) with (0, 1).
    expected = 2 * (0.3 - 0.1) + (1 + 3 / math.sqrt(10)) * (0.5 + 0.7 - 0.2)
    assert between(one, short) == pytest.approx(expected) and between(short, one) == pytest.approx(-expected)


@pytest.mark.parametrize("weights", ["lambda", "uniform"])
def test_step_by_step_with_states_that_have_nothing_in_common_is_whole_by_whole(weights):
    axes = torch.eye(3).tolist()
    answers = [stepped([x, 0.2 * x], [axis, axis]) for x, axis in zip((0.4, 0.9, -1.0), axes, strict=True)]
    batch = stepwise(answers, (1.0, 0.5, 0.0))
    whole = LOSSES["tree_po"].bind(beta=0.7, weights=weights)(batch)
    torch.testing.assert_close(LOSSES["tree_po_steps"].bind(beta=0.7, weights=weights)(batch), whole)
    alike = stepwise([stepped([x], [(2, 1)]) for x in (0.4, 0.9, -1.0)], (1.0, 0.5, 0.0))
    double = LOSSES["tree_po"].bind(beta=1.4, weights=weights)(alike)
    torch.testing.assert_close(LOSSES["tree_po_steps"].bind(beta=0.7, weights=weights)(alike), double)


def test_step_by_step_the_gradient_reaches_tokens_and_no_state():
    answers = [stepped([x, 0.1], [(1, k), (1, 1)]) for k, x in enumerate((0.4, 0.9, -1.0))]
    states = [answer.policy.states.requires_grad_(True) for answer in answers]
    parts = [answer.policy.parts.requires_grad_(True) for answer in answers]
    LOSSES["tree_po_steps"].bind(beta=0.7)(stepwise(answers, (1.0, 0.5, 0.0))).sum().backward()
    assert all(state.grad is None for state in states)
    assert (parts[0].grad < 0).all() and (parts[-1].grad > 0).all()


def test_sums_have_no_steps():
    with pytest.raises(ValueError, match="hidden states"):
        LOSSES["tree_po_steps"].bind(beta=1.0)(listed((1.0, 0.0, -1.0), rewards=(1.0, 0.5, 0.0)))


def test_a_list_without_rewards_is_refused():
    with pytest.raises(ValueError, match="diffalign score"):
        LOSSES["tree_po"].bind(beta=1.0)(listed((1.0, 0.0, -1.0)))


def test_a_reward_that_contradicts_the_order_counts_as_equal():
    loss = LOSSES["pro"].bind(sft=0.0)
    wrong, equal = (listed((-1.0, -2.0, -3.0), rewards=(0.5, r, 0.1), tokens=(1, 1, 1)) for r in (0.9, 0.5))
    first = lambda batch: loss(batch).item() - LOSSES["pro"].bind(sft=0.0)(tail(batch)).item()
    assert first(wrong) == pytest.approx(first(equal), rel=1e-13)


def tail(batch):
    """The list without its best candidate."""
    second = batch.further["2"]
    rewards = {"chosen": batch.rewards["2"], "rejected": batch.rewards["rejected"]}
    return PairLogps(second.policy, batch.rejected, second.reference, batch.reference_rejected, rewards=rewards)


def test_logps_are_read_as_means_where_a_ranking_needs_them():
    loss = LOSSES["pro"].bind(sft=0.0)
    batch = listed((-4.0, -6.0, -9.0), rewards=(1.0, 0.5, 0.0), tokens=(2, 3, 3))
    bare = listed((-2.0, -2.0, -3.0), rewards=(1.0, 0.5, 0.0))
    assert loss(batch).item() == pytest.approx(loss(bare).item(), rel=1e-14)


@pytest.mark.parametrize("relative", [False, True])
def test_two_answers_measured_from_each_other_are_rebel(relative):
    batch = replace(drawn(6, scale=3.0), rewards={"chosen": torch.linspace(0, 2, 6), "rejected": torch.ones(6)})
    of = lambda name: LOSSES[name].bind(beta=0.3, relative=relative)(batch)
    torch.testing.assert_close(of("leave_one_out"), of("rebel"))


def test_the_kl_of_a_list_of_two_is_that_of_two_samples_and_of_more_the_mean_over_every_two():
    answers = [0.4, -1.0, 0.2, 1.5]
    twos = []
    for i in range(4):
        for j in range(i):
            pair = listed((answers[i], answers[j]))
            own = dict(zip(("own_1", "own_2"), pair.answers, strict=True))
            twos.append(LOSSES["online_kl"].bind()(replace(pair, further=own)))
            torch.testing.assert_close(LOSSES["group_kl"].bind()(pair), twos[-1])
    torch.testing.assert_close(LOSSES["group_kl"].bind()(listed(answers)), torch.stack(twos).mean(0))


def test_at_the_reference_the_slope_is_the_leave_one_out_policy_gradient():
    rewards = [2.0, 0.5, 0.1, -1.0]
    slope = pulls(LOSSES["leave_one_out"].bind(beta=0.25), listed([0.0] * 4, rewards=rewards))[:, 0]
    advantages = torch.tensor([v - (sum(rewards) - v) / 3 for v in rewards], dtype=torch.float64)
    torch.testing.assert_close(slope, -2 / 0.25 * 4 / 3 * advantages / 4)


def test_below_the_others_an_answer_is_pushed_down_whatever_is_added_to_the_rewards():
    loss = LOSSES["leave_one_out"].bind(beta=0.25)
    plain, raised = (pulls(loss, listed([0.0] * 3, rewards=[v + up for v in (2.0, 0.6, 0.4)])) for up in (0.0, 50.0))
    assert plain[0] < 0 and (plain[1:] > 0).all()
    torch.testing.assert_close(raised, plain, rtol=1e-10, atol=0)


@pytest.mark.parametrize("name, hyper", [("leave_one_out", {"beta": 0.5}), ("best_of_n", {"n": 3.0})])
def test_a_target_does_not_ask_for_the_order_of_its_list(name, hyper):
    loss = LOSSES[name].bind(**hyper)
    batch = fit(loss, drawn(5, scale=2.0))
    torch.testing.assert_close(loss(in_order(batch, [3, 0, 2, 1])), loss(batch), rtol=1e-12, atol=0)


@pytest.mark.parametrize("n", [1, 2, 4])
def test_the_best_of_n_costs_nothing_and_lies_as_high_as_the_best_of_n_does(n):
    places = torch.arange(400, 0, -1, dtype=torch.float64) / 400
    policy = ((n - 1) * places.log()).softmax(0)
    ratios = (policy * 400).log()
    loss = LOSSES["best_of_n"].bind(n=float(n))
    assert loss(listed(ratios.tolist(), rewards=places.tolist())).item() < 1e-20
    assert (policy * places).sum().item() == pytest.approx(n / (n + 1), abs=2e-3)
    squeezed = listed(ratios.tolist(), rewards=(places**9).tolist())
    assert loss(squeezed).item() < 1e-20, "only the order counts"


def test_weights_by_rewards_go_from_all_answers_alike_to_the_best_alone():
    batch = listed((-3.0, -5.0, -10.0), rewards=(1.0, 0.5, 0.0))
    of = lambda temperature: LOSSES["reward_weighted"].bind(temperature=temperature)(batch).item()
    assert of(1e9) == pytest.approx(6.0) and of(1e-3) == pytest.approx(3.0)
    assert (pulls(LOSSES["reward_weighted"].bind(temperature=1.0), batch) < 0).all()
