"""Numbers of the losses on lists that were worked out by hand, to every printed digit."""

import pytest
import torch

from diffalign.losses import LOSSES, AnswerLogps, CandidateLogps, PairLogps


def listed(logps, rewards=None, tokens=None, reference=0.0):
    """One list, best candidate first: its log-probabilities, the data's rewards, numbers of tokens."""
    names = ["chosen", *map(str, range(2, len(logps))), "rejected"]
    tensor = lambda x: torch.tensor([x], dtype=torch.float64)
    lengths = [None if tokens is None else tensor(n) for n in tokens or logps]
    answers = [
        AnswerLogps(CandidateLogps(tensor(x), lengths=n), CandidateLogps(tensor(reference)))
        for x, n in zip(logps, lengths, strict=True)
    ]
    return PairLogps(
        *(answers[0].policy, answers[-1].policy, answers[0].reference, answers[-1].reference),
        further=dict(zip(names[1:-1], answers[1:-1], strict=True)),
        rewards={} if rewards is None else dict(zip(names, map(tensor, rewards), strict=True)),
    )


# Means -0.5, -0.9, -1.3 of sums -5, -7.2, -6.5.
THREE = {"logps": (-5.0, -7.2, -6.5), "tokens": (10, 8, 5), "rewards": (0.9, 0.6, 0.2)}


def test_the_ranking_of_three_and_its_likelihood():
    # L_1 = 0.976255, L_2 = 0.616344, and 0.05 * 2^2 * 5 = 1.
    assert f"{LOSSES['pro'].bind(sft=0.05)(listed(**THREE)).item():.6f}" == "2.592599"
    assert f"{LOSSES['pro'].bind(sft=0.0)(listed(**THREE)).item():.6f}" == f"{0.976255 + 0.616344:.6f}"


def test_the_ranking_of_two_is_a_logistic_loss_whose_beta_is_the_gap_of_rewards():
    two = listed((-5.0, -7.2), rewards=(0.9, 0.2), tokens=(10, 8))
    assert f"{LOSSES['pro'].bind(sft=0.0)(two).item():.6f}" == "0.562915"
    assert f"{LOSSES['pro'].bind(sft=0.05)(two).item():.6f}" == "0.812915"


@pytest.mark.parametrize(
    "rewards, printed",
    [((-0.5, -0.9, -1.3), "1.264266"), ((0.3, -0.1, -0.4), "1.327655"), ((0.15, 0.30, -0.05), "1.625495")],
)
def test_a_ranking_as_repeated_choices(rewards, printed):
    assert f"{LOSSES['plackett_luce'].bind(beta=1.0)(listed(rewards)).item():.6f}" == printed


@pytest.mark.parametrize(
    "rewards, printed",
    [((0.15, 0.30, -0.05), "0.512819"), ((2.0, 1.0, 0.0), "0.213777")],
)
def test_pairs_weighed_by_what_a_swap_would_cost(rewards, printed):
    # The first: 0.311905 * 0.770957 + 0.188892 * 0.598139 + 0.298792 * 0.533382.
    found = LOSSES["tree_po"].bind(beta=1.0)(listed(rewards, rewards=(1.0, 0.5, 0.0)))
    assert f"{found.item():.6f}" == printed


def test_a_tree_with_two_leaves_is_a_weighed_pair():
    # Log-probabilities -12 and -15, reference -13 and -14.5, beta 0.1: 0.620957 times 0.532456.
    two = listed((1.0, -0.5), rewards=(1.0, 0.0))
    assert f"{LOSSES['tree_po'].bind(beta=0.1)(two).item():.6f}" == "0.330632"


def test_the_losses_on_own_answers_have_the_numbers_of_hand():
    # Less the others' mean: logratios 1.1, -0.4, -0.7; rewards 0.5, 0.05, -0.55. Shares no better: 1, 2/3, 1/3.
    group = listed((0.9, -0.1, -0.3), rewards=(0.9, 0.6, 0.2))
    # At beta 0.5 targets 1, 0.1, -1.1: (1.1 - 1)^2 + (0.4 + 0.1)^2 + (0.7 - 1.1)^2 = 0.42, by three.
    assert LOSSES["leave_one_out"].bind(beta=0.5)(group).item() == pytest.approx(0.14, rel=1e-14)
    assert LOSSES["leave_one_out"].bind(beta=0.5, relative=True)(group).item() == pytest.approx(0.035, rel=1e-14)
    # Logarithms 0, -0.405465, -1.098612 less the others' mean: 0.752039, 0.143841, -0.895880.
    # (1.1 - 0.752039)^2 + (0.4 + 0.143841)^2 + (0.7 - 0.895880)^2 = 0.455211, by three.
    assert f"{LOSSES['best_of_n'].bind(n=2.0)(group).item():.5f}" == "0.15174"
    # Weights 0.446946, 0.331106, 0.221947 (e^0.9, e^0.6, e^0.2 by their sum): -(0.402251 - 0.033111 - 0.066584).
    assert f"{LOSSES['reward_weighted'].bind(temperature=1.0)(group).item():.6f}" == "-0.302557"
    # (0.733333^2 + 0.266667^2 + 0.466667^2) / 4.
    assert f"{LOSSES['group_kl'].bind()(group).item():.6f}" == "0.206667"
