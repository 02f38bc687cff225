"""Numbers with an origin of losses that read more than two log-ratios, to every printed digit."""

import pytest
import torch

from diffalign.losses import LOSSES, Objective, Term
from tests.losses.judged import answered, known, language
from tests.losses.logps import from_logps, from_margins

REVISIONS = {
    "chosen_after_rejected": 1.0,
    "rejected_after_chosen": -0.5,
    "chosen_after_chosen": 0.4,
    "rejected_after_rejected": -0.2,
}

# One language pair: log-probabilities -12 and -15, reference -13 and -14.5; what is known besides.
LANGUAGE = [
    ("gpo", {"beta": 0.1}, {"rewards": (0.05, -0.05)}, "0.125000"),
    ("dno", {"beta": 0.1}, {"rewards": (0.8, 0.3)}, "0.677588"),
    ("sppo", {"beta": 1e-3}, {"rewards": (0.8, 0.3)}, "64600.625000"),
    ("sppo", {"beta": 1e-3, "relative": True}, {"rewards": (0.8, 0.3)}, "0.064601"),
    ("sppo", {"beta": 1e-3, "single": True}, {"rewards": (0.85, 0.15)}, "121975.625000"),
    ("inpo", {"beta": 0.0075}, {"previous": (-12.5, -14.8)}, "4316.490000"),
    ("inpo", {"beta": 0.0075, "relative": True}, {"previous": (-12.5, -14.8)}, "0.242803"),
    ("inpo", {"beta": 0.0075}, {"previous": (-13.0, -14.5)}, "4246.694444"),
    # Rewards that the recipe's weight, one half, has been put on already.
    ("modpo", {"beta": 0.1, "weight": 0.5}, {"rewards": (0.15, -0.1)}, "0.798139"),
    ("modpo", {"beta": 0.1, "weight": 0.5, "curve": "hinge"}, {"rewards": (0.15, -0.1)}, "1.200000"),
    ("modpo", {"beta": 0.1, "weight": 1.0}, {"rewards": (0.0, 0.0)}, "0.620957"),
    ("srpo", {"beta": 0.1, "mix": 1.0}, {"further": REVISIONS}, "0.490000"),
    ("srpo", {"beta": 0.1, "mix": 0.0}, {"further": REVISIONS}, "0.156250"),
    ("srpo", {"beta": 0.1}, {"further": REVISIONS}, "0.323125"),
    ("rationale", {}, {"further": {"rationale": answered(-40.0)}}, "4.000000"),
    ("rationale", {"form": "logsigmoid"}, {"further": {"rationale": answered(-40.0)}}, "4.018150"),
    ("rationale", {"gamma": 0.001}, {"further": {"rationale": answered(-40.0)}}, "0.040000"),
    ("rationale", {"gamma": 0.001, "form": "logsigmoid"}, {"further": {"rationale": answered(-40.0)}}, "0.713347"),
    # By hand: -log s(0.15 - log 4), -log s(0.15 - 0.5 log 0.25) and -log s(0.15 - 0.5 * 4).
    ("odpo", {"beta": 0.1}, {"rewards": (5.0, 1.0)}, "1.491292"),
    ("odpo", {"beta": 0.1, "alpha": 0.5}, {"rewards": (1.25, 1.0)}, "0.357922"),
    ("odpo", {"beta": 0.1, "alpha": 0.5, "growth": "linear"}, {"rewards": (5.0, 1.0)}, "1.996035"),
]


@pytest.mark.parametrize("name, hyper, besides, printed", LANGUAGE)
def test_a_known_pair_has_the_published_loss(name, hyper, besides, printed):
    assert f"{LOSSES[name].bind(**hyper)(language(**besides)).item():.6f}" == printed


def test_a_soft_label_has_its_minimum_where_the_rewards_say():
    # z = s(0.5) = 0.622459; its entropy, 0.662847, at a margin of 5.
    loss = LOSSES["dno"].bind(beta=0.1)
    at = lambda m: loss(known(from_margins([m]), rewards=(0.8, 0.3))).item()
    assert f"{at(5.0):.6f}" == "0.662847" and at(4.9) > at(5.0) < at(5.1)


@pytest.mark.parametrize(
    "name, hyper, logps, tokens, nll, pair, total",
    [
        ("tpo", {"beta": 0.2, "alpha": 0.9}, (-10.0, -12.0), (5, 6), 1.5, "0.513015", "1.863015"),
        ("tpo", {"beta": 0.01}, (-10.0, -12.0), (5, 6), 1.5, "0.683197", "2.183197"),
        ("tpo_l", {"beta": 10.0, "gamma": 0.5}, (-2.0, -3.0), (4, 5), 1.5, "0.474077", "1.974077"),
    ],
)
def test_three_answers_cost_what_is_printed(name, hyper, logps, tokens, nll, pair, total):
    batch = from_logps([logps[0]], [logps[1]], [0.0], [0.0], tokens=([tokens[0]], [tokens[1]]))
    batch = known(batch, further={"gold": answered(-7 * nll, tokens=7)})
    assert f"{LOSSES[name].bind(**{**hyper, 'alpha': 0.0})(batch).item():.6f}" == pair
    assert f"{LOSSES[name].bind(**hyper)(batch).item():.6f}" == total


@pytest.mark.parametrize(
    "sign, alpha, printed",
    [
        ("online", 0.01, "0.555855"),
        ("offline", 0.01, "0.552855"),
        ("online", 1.0, "0.704355"),
        ("offline", 1.0, "0.404355"),
    ],
)
def test_a_calibration_answer_costs_what_is_printed(sign, alpha, printed):
    # Log-probabilities -10 and -15, reference -12 and -14: the pair alone costs 0.554355.
    batch = known(from_logps([-10.0], [-15.0], [-12.0], [-14.0]), further={"calibration": 1.5})
    assert f"{LOSSES['logistic'].bind(beta=0.1)(batch).item():.6f}" == "0.554355"
    assert f"{LOSSES['vpo'].bind(beta=0.1, alpha=alpha, sign=sign)(batch).item():.6f}" == printed


def test_a_rationale_added_to_the_logistic_loss_has_the_published_loss():
    batch = language(further={"rationale": answered(-40.0)})
    for form, printed in {"nll": "4.620957", "logsigmoid": "4.639107"}.items():
        terms = Term(LOSSES["logistic"].bind(beta=0.1)), Term(LOSSES["rationale"].bind(gamma=0.1, form=form))
        assert f"{Objective(terms)(batch).item():.6f}" == printed


def test_one_answer_under_two_prompts_is_the_logistic_loss():
    # Logratios 1.0 and -0.3 of one answer under two prompts: 0.630258.
    batch = from_logps([-9.0], [-9.3], [-10.0], [-9.0])
    assert f"{LOSSES['logistic'].bind(beta=0.1)(batch).item():.6f}" == "0.630258"


def test_two_margins_against_each_other_cost_what_is_printed():
    # Margins 0.20 and 0.15 in units of reward: 0.668460.
    batch = known(from_margins([1.5]), further={"augmented_chosen": 1.2, "augmented_rejected": -0.8})
    assert f"{LOSSES['margin_contrast'].bind(beta=0.1)(batch).item():.6f}" == "0.668460"


def test_prompts_and_answers_together_cost_what_is_printed():
    batch = from_logps([-8.5], [-11.0], [-10.0], [-10.0])
    assert f"{LOSSES['dove'].bind(beta=0.1)(batch).item():.6f}" == "0.575939"
    assert f"{LOSSES['dove'].bind(beta=0.1)(known(batch, prompts=(2.0, -1.0))).item():.6f}" == "0.455492"


def test_win_rates_of_one_and_nothing_are_half_of_what_trl_prints():
    found = LOSSES["sppo"].bind(beta=1e-3)(language(rewards=(1.0, 0.0))).item()
    assert f"{2 * found:.2f}" == "498501.25"
    assert 2 * found == pytest.approx(LOSSES["sppo_hard"].bind(beta=1e-3)(language()).item(), rel=1e-14)


def test_at_the_start_the_regressions_are_as_far_off_as_their_targets():
    zero = known(from_margins([0.0]), further=dict.fromkeys(REVISIONS, 0.0), previous=(0.0, 0.0), rewards=(0.8, 0.3))
    at = lambda name, **hyper: LOSSES[name].bind(beta=0.01, **hyper)(zero).item()
    assert at("sppo", relative=True) == pytest.approx((0.3**2 + 0.2**2) / 2, rel=1e-14)
    assert at("inpo", relative=True) == 0.25
    assert (at("srpo", mix=1.0), at("srpo", mix=0.0)) == (1.0, 0.25)


def test_the_gradient_by_a_gold_answer_is_its_weight_by_its_length():
    gold = torch.tensor([-10.5], dtype=torch.float64, requires_grad=True)
    batch = known(from_logps([-10.0], [-12.0], [0.0], [0.0]), further={"gold": answered(gold, tokens=7)})
    (slope,) = torch.autograd.grad(LOSSES["tpo"].bind(alpha=0.9)(batch).sum(), gold)
    assert slope.item() == pytest.approx(-0.9 / 7, rel=1e-14)


def test_rebel_has_the_number_of_the_specification_and_does_not_know_which_is_chosen():
    """m = 1.5, P(y beats y'') = 0.8, P(y' beats y'') = 0.3, beta 0.1: (1.5 - 5)^2 = 12.25."""
    batch = known(from_logps([-10.0], [-12.0], [-11.0], [-11.5]), rewards=(0.8, 0.3))
    assert float(batch.margin) == pytest.approx(1.5)
    loss = LOSSES["rebel"].bind(beta=0.1)
    assert loss(batch).item() == pytest.approx(12.25)
    assert loss(batch.swapped()).item() == pytest.approx(12.25)
