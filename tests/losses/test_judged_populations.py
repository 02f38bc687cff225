"""Minimised over all answers of a small game, losses recover the policies that their papers derive."""

import pytest
import torch

from diffalign.losses import LOSSES, CandidateLogps, PairLogps
from diffalign.losses.pair_logps import AnswerLogps
from diffalign.losses.pairs.srpo import ROLES
from tests.losses.judged import answered, known

BEATS = torch.tensor([[0.5, 0.7, 0.2], [0.3, 0.5, 0.9], [0.8, 0.1, 0.5]], dtype=torch.float64)
"""How often the row's answer beats the column's: each beats one other."""
PREVIOUS = torch.tensor([0.2, 0.5, 0.3], dtype=torch.float64)
REFERENCE = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)
FIRST, SECOND = torch.cartesian_prod(torch.arange(3), torch.arange(3)).unbind(1)
"""Every pair of answers, the first one called the chosen."""


def pairs(policy, reference, **besides):
    """All pairs as a batch, from log-probabilities of the answers."""
    sides = [CandidateLogps(x) for x in (policy[FIRST], policy[SECOND], reference[FIRST], reference[SECOND])]
    return known(PairLogps(*sides), **besides)


def minimised(function, *shapes):
    """Log-probabilities (softmax over the last axis) at the least of a function of them."""
    logits = [torch.zeros(shape, dtype=torch.float64, requires_grad=True) for shape in shapes]
    steps = torch.optim.LBFGS(
        logits, max_iter=500, tolerance_grad=1e-13, tolerance_change=1e-16, line_search_fn="strong_wolfe"
    )

    def closure():
        steps.zero_grad()
        value = function(*(x.log_softmax(-1) for x in logits))
        value.backward()
        return value

    steps.step(closure)
    return [x.detach().softmax(-1) for x in logits]


def same(found, wanted):
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-7)


def shown(policy):
    return [f"{p:.6f}" for p in policy.flatten().tolist()]


def test_a_step_of_mirror_descent_towards_the_nash_policy():
    beta, share = 0.5, 0.4
    loss = LOSSES["inpo"].bind(beta=beta, tau_over_eta=share)
    often = PREVIOUS[FIRST] * PREVIOUS[SECOND] * BEATS[FIRST, SECOND]
    before = PREVIOUS.log()

    def mean(policy):
        batch = pairs(policy, REFERENCE.log(), previous=(before[FIRST], before[SECOND]))
        return (often * loss(batch)).sum()

    (found,) = minimised(mean, 3)
    same(found, ((BEATS @ PREVIOUS) / beta + share * REFERENCE.log() + (1 - share) * before).softmax(0))
    assert shown(found) == ["0.304895", "0.495423", "0.199683"]


@pytest.mark.parametrize("mix", [0.3, 0.5])
@pytest.mark.parametrize("drew", [(1 / 3, 1 / 3, 1 / 3), (0.7, 0.2, 0.1)])
def test_answers_and_revisions_are_the_same_whatever_drew_the_pairs(drew, mix):
    beta, drew = 0.5, torch.tensor(drew, dtype=torch.float64)
    reviser = torch.tensor([[0.6, 0.3, 0.1], [0.2, 0.5, 0.3], [0.25, 0.25, 0.5]], dtype=torch.float64)  # by draft
    loss = LOSSES["srpo"].bind(beta=beta, mix=mix)
    often = drew[FIRST] * drew[SECOND] * BEATS[FIRST, SECOND]
    drafts = ((SECOND, FIRST), (FIRST, SECOND), (FIRST, FIRST), (SECOND, SECOND))

    def mean(policy, revise):
        further = {r: answered(revise[d], reviser.log()[d]) for r, d in zip(ROLES, drafts, strict=True)}
        return (often * loss(pairs(policy, REFERENCE.log(), further=further))).sum()

    policy, revised = minimised(mean, 3, (3, 3))
    weights = reviser * (BEATS.T / beta).exp()
    same(revised, weights / weights.sum(1, keepdim=True))
    same(policy, REFERENCE / weights.sum(1) / (REFERENCE / weights.sum(1)).sum())
    assert shown(policy) == ["0.509743", "0.322281", "0.167976"]
    assert shown(revised)[:6] == ["0.610185", "0.204510", "0.185305", "0.319735", "0.535812", "0.144453"]
    assert shown(revised)[6:] == ["0.114950", "0.466145", "0.418905"]


def test_two_objectives_are_weighed_as_one_reward_would_be():
    beta, weight = 0.1, 0.7
    one, two = torch.tensor([[0.3, 0.1, -0.2], [-0.4, 0.5, 0.2]], dtype=torch.float64)
    loss = LOSSES["modpo"].bind(beta=beta, weight=weight)
    often = torch.sigmoid(one[FIRST] - one[SECOND])  # labelled by the first
    others = (1 - weight) * two

    def mean(policy):
        return (often * loss(pairs(policy, REFERENCE.log(), rewards=(others[FIRST], others[SECOND])))).sum()

    (found,) = minimised(mean, 3)
    wanted = (REFERENCE.log() + (weight * one + others) / beta).softmax(0)
    same(found, wanted)
    # There every pair's logit is the first objective's difference.
    batch = pairs(wanted.log(), REFERENCE.log(), rewards=(others[FIRST], others[SECOND]))
    same(loss(batch), -torch.nn.functional.logsigmoid(one[FIRST] - one[SECOND]))


def test_soft_labels_end_at_the_reference_times_the_exponent_of_the_win_rate():
    beta, rate = 0.3, BEATS @ PREVIOUS
    loss = LOSSES["dno"].bind(beta=beta)
    (found,) = minimised(lambda p: loss(pairs(p, PREVIOUS.log(), rewards=(rate[FIRST], rate[SECOND]))).sum(), 3)
    same(found, (PREVIOUS.log() + rate / beta).softmax(0))
    # The paper's promise: it beats the policy before by more than eta times the divergence.
    won, divergence = found @ BEATS @ PREVIOUS, (found * (found / PREVIOUS).log()).sum()
    assert won >= 0.5 + beta * divergence


def test_win_rates_have_their_least_at_a_step_of_multiplicative_weights():
    beta, rate = 0.5, BEATS @ PREVIOUS
    assert rate.tolist() == pytest.approx([0.51, 0.58, 0.36])
    logps = PREVIOUS.log().clone().requires_grad_(True)
    loss = LOSSES["sppo"].bind(beta=beta, relative=True)
    steps = torch.optim.LBFGS([logps], max_iter=200, tolerance_grad=1e-13, line_search_fn="strong_wolfe")

    def closure():
        steps.zero_grad()
        value = loss(pairs(logps, PREVIOUS.log(), rewards=(rate[FIRST], rate[SECOND]))).sum()
        value.backward()
        return value

    steps.step(closure)
    least = logps.detach().exp()
    assert f"{least.sum().item():.6f}" == "1.017531"
    assert shown(least / least.sum()) == ["0.200525", "0.576646", "0.222829"]


def test_over_all_samples_of_a_policy_the_slope_of_online_kl_is_that_of_the_kl():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(4, generator=generator, dtype=torch.float64, requires_grad=True)
    reference = torch.randn(4, generator=generator, dtype=torch.float64).log_softmax(0)
    policy = logits.log_softmax(0)
    kl = (policy.exp() * (policy - reference)).sum()
    (wanted,) = torch.autograd.grad(kl, logits, retain_graph=True)
    ratios = policy - reference
    weights = torch.outer(policy.exp(), policy.exp()).detach()  # no gradient through the sampling
    first, second = torch.meshgrid(torch.arange(4), torch.arange(4), indexing="ij")
    own = {
        role: AnswerLogps(CandidateLogps(policy[index.flatten()]), CandidateLogps(reference[index.flatten()]))
        for role, index in (("own_1", first), ("own_2", second))
    }
    sides = [CandidateLogps(torch.zeros(16, dtype=torch.float64)) for _ in range(4)]
    found = LOSSES["online_kl"].bind()(known(PairLogps(*sides), further=own))
    torch.testing.assert_close(found, (0.25 * (ratios[:, None] - ratios) ** 2).flatten())
    (slope,) = torch.autograd.grad((weights.flatten() * found).sum(), logits)
    torch.testing.assert_close(slope, wanted)
