"""Numbers with an origin of losses on pairs: worked examples of the papers' formulas, to every printed digit."""

import math
from dataclasses import replace

import pytest
import torch

from diffalign.losses import LOSSES, CandidateLogps
from diffalign.losses.pairs.orpo import log_odds
from tests.losses.logps import from_errors, from_logps, from_margins


def known(tokens=(8, 12)):
    """Log-probabilities -12 and -15, reference -13 and -14.5: logratios 1 and -0.5, margin 1.5."""
    return from_logps([-12.0], [-15.0], [-13.0], [-14.5], tokens=([tokens[0]], [tokens[1]]))


PAIR = [
    # Chen et al.: the reference's gap counted not at all, by half, once and twice.
    ("dpo_gamma", {"beta": 0.1, "gamma": 0.0}, "0.554355"),
    ("dpo_gamma", {"beta": 0.1, "gamma": 0.5}, "0.586962"),
    ("dpo_gamma", {"beta": 0.1, "gamma": 1.0}, "0.620957"),
    ("dpo_gamma", {"beta": 0.1, "gamma": 2.0}, "0.693147"),
    # Flex-DPO: logit 0.14.
    ("flex_dpo", {"beta": 0.1, "beta_rejected": 0.08}, "0.625595"),
    ("flex_dpo", {"beta": 0.1, "beta_rejected": 0.1}, "0.620957"),
    # CPL: logits 0.3 and -0.45; against a reference 0.15 and 0.1375.
    ("cpl", {"beta": 0.1, "lam": 1.0}, "0.554355"),
    ("cpl", {"beta": 0.1, "lam": 0.5}, "0.943249"),
    ("cpl_kl", {"beta": 0.1, "lam": 1.0}, "0.620957"),
    ("cpl_kl", {"beta": 0.1, "lam": 0.75}, "0.626759"),
    # CPO: the contrast, with the likelihood per token and with its sum.
    ("cpo", {"beta": 0.1, "weight": 0.0}, "0.554355"),
    ("cpo", {"beta": 0.1}, "2.054355"),
    ("cpo", {"beta": 0.1, "average": False}, "12.554355"),
    # ASFT: means -1.5 and -1.25; the tempered ones are the odds' part alone.
    ("asft", {"sft_term": False}, "1.837580"),
    ("asft", {}, "3.337580"),
    ("asft", {"beta": 0.5, "sft_term": False}, "1.543728"),
    ("asft", {"beta": 2.0, "sft_term": False}, "2.723794"),
    ("asft", {"lam": 0.0}, "1.500000"),
    # Each candidate by itself, u = 0.1 and -0.05.
    ("bco_pair", {"beta": 0.1}, "1.312856"),
    ("nca", {"beta": 0.1}, "1.350825"),
    ("apo_zero", {"beta": 0.1}, "0.962523"),
    ("apo_down", {"beta": 0.1}, "0.987549"),
    # SPPO with hard labels as the sum of both squares: 4^2 + 4.5^2.
    ("sppo_hard", {"beta": 0.1}, "36.250000"),
    ("sppo_hard", {"beta": 0.1, "relative": True}, "0.362500"),
    ("sppo_hard", {"beta": 0.001}, "498501.250000"),
    # u = 0.15: blended with 95.3 and 57.4 hundredths of the exponential loss.
    ("discopop", {"beta": 0.1}, "0.849338"),
    ("discopop", {"beta": 0.1, "temperature": 0.5}, "0.758680"),
    ("exo", {"beta": 0.1}, "2.505517"),
    # One pair is ranked alike by everybody.
    ("aot", {"beta": 0.1}, "0.620957"),
    ("aot", {"beta": 0.1, "flip": 0.1}, "0.635957"),
    ("aot_unpaired", {"beta": 0.1}, "0.620957"),
    # RSO: the logistic and the hinge loss at gamma 0.05.
    ("logistic", {"beta": 0.05}, "0.656350"),
    ("hinge", {"beta": 0.05}, "0.925000"),
]


@pytest.mark.parametrize("name, hyper, printed", PAIR)
def test_the_known_pair_costs_what_is_known(name, hyper, printed):
    assert f"{LOSSES[name].bind(**hyper)(known()).item():.6f}" == printed


def test_the_hinge_without_a_reference_is_that_of_slic():
    indifferent = from_logps([-12.0], [-15.0], [-20.0], [-20.0])
    assert f"{LOSSES['hinge'].bind(beta=0.05)(indifferent).item():.6f}" == "0.850000"


def slopes(loss, batch):
    """Derivatives by the chosen and by the rejected log-probability."""
    (chosen, rejected), leaves = batch.pair, [s.logps.clone().requires_grad_(True) for s in batch.pair]
    moved = replace(batch, chosen=replace(chosen, logps=leaves[0]), rejected=replace(rejected, logps=leaves[1]))
    return [x.tolist() for x in torch.autograd.grad(loss(moved).sum(), leaves, materialize_grads=True)]


SLOPES = [
    ("logistic", {"beta": 0.1}, "-0.046257", "0.046257"),
    ("robust", {"beta": 0.1, "flip": 0.1}, "-0.058757", "0.058757"),
    ("flex_dpo", {"beta": 0.1, "beta_rejected": 0.08}, "-0.046506", "0.037205"),
    ("cpl", {"beta": 0.1, "lam": 0.5}, "-0.061064", "0.030532"),
    ("rpo", {"beta": 0.1, "eta": 0.005}, "-0.046757", "0.046257"),
]


@pytest.mark.parametrize("name, hyper, chosen, rejected", SLOPES)
def test_the_known_pair_pulls_as_is_known(name, hyper, chosen, rejected):
    found = slopes(LOSSES[name].bind(**hyper), known())
    assert [f"{x:.6f}" for (x,) in found] == [chosen, rejected]


def test_the_parts_of_asft_on_the_known_pair():
    a = torch.tensor([-1.5, -1.25], dtype=torch.float64)
    assert [f"{x:.6f}" for x in (*a.exp().tolist(), *log_odds(a).tolist())] == [
        *("0.223130", "0.286505", "-1.247518", "-0.912420")
    ]
    # Per token of a mean: 8 tokens in the chosen candidate, 12 in the rejected one.
    (chosen,), (rejected,) = slopes(LOSSES["asft"].bind(), known())
    assert chosen * 8 == pytest.approx(-2.0, rel=1e-12)
    assert f"{rejected * 12:.6f}" == "0.401551"
    assert f"{LOSSES['orpo'].bind(weight=1.0)(known()).item():.6f}" == "2.374667"


def test_asft_of_a_denoiser_takes_a_scaled_error_for_a_probability():
    # Errors 0.30 and 0.25 times 5 are the means above: a logp is half an error, so the scale is 10.
    batch = from_errors([0.30], [0.25], [0.0], [0.0])
    assert f"{LOSSES['asft'].bind(logp_scale=10.0)(batch).item():.6f}" == "3.337580"


def test_cpl_with_a_bias_raises_the_loss_when_both_segments_become_unlikelier():
    lower = from_logps([-17.0], [-20.0], [-13.0], [-14.5])
    assert f"{LOSSES['cpl'].bind(beta=0.1, lam=0.5)(lower).item():.6f}" == "1.103186"
    contrast = LOSSES["cpl"].bind(beta=0.1, lam=1.0)
    assert contrast(lower).item() == pytest.approx(contrast(known()).item(), rel=1e-14)


def test_exo_at_the_published_point():
    assert f"{LOSSES['exo'].bind(beta=1.0, flip=0.005)(from_margins([0.3])).item():.6f}" == "1.575596"
    best = from_margins([math.log(0.995 / 0.005)])
    assert LOSSES["exo"].bind(beta=1.0, flip=0.005)(best).item() == pytest.approx(0.0, abs=1e-15)


def test_the_smoothed_logistic_loss_is_least_where_it_is_known_to_be():
    loss = LOSSES["logistic"].bind(beta=0.1, flip=0.1)
    assert f"{0.1 * loss.loss.optimum(loss.hyper):.6f}" == "2.197225"


def test_ranks_pair_the_gaps_of_three_pairs():
    # Gaps 3, -1, 0.5 of the policy and 1, 2, -2 of the reference: 3 meets 2, -1 meets -2, 0.5 meets 1.
    batch = from_logps([3.0, -1.0, 0.5], [0.0] * 3, [1.0, 2.0, -2.0], [0.0] * 3)
    found = LOSSES["aot"].bind(beta=0.5)(batch).tolist()
    assert [f"{x:.6f}" for x in found] == ["0.474077", "0.474077", "0.825939"]
    by_pair = LOSSES["logistic"].bind(beta=0.5)(batch).tolist()
    assert [f"{x:.6f}" for x in by_pair] == ["0.313262", "1.701413", "0.251929"]


def test_simpo_costs_log_two_at_its_margin_and_pulls_by_the_token():
    at_the_margin = from_logps([-6.0], [-10.0], [0.0], [0.0], tokens=([6], [8]))  # means -1 and -1.25
    loss = LOSSES["simpo"].bind(beta=2.0, gamma_beta_ratio=0.25)
    assert loss(at_the_margin).item() == pytest.approx(math.log(2.0), rel=1e-14)
    # weight = s(gamma - beta (a_w - a_l)) = s(2) on means -2 and -1.5; by token -2 s(2) / 6 and 2 s(2) / 10.
    (chosen,), (rejected,) = slopes(LOSSES["simpo"].bind(beta=2.0, gamma_beta_ratio=0.5), known((6, 10)))
    weight = 1 / (1 + math.exp(-2.0))
    assert (chosen, rejected) == pytest.approx((-2 * weight / 6, 2 * weight / 10), rel=1e-12)


def test_a_toy_of_shared_parameters_loses_the_chosen_answer_under_dpo_and_keeps_it_under_flex_dpo():
    # Ten answers with logits theta f, f = 0.5 (chosen), 1 (rejected), 0 (eight others); plain gradient descent, step 1.
    features = torch.tensor([0.5, 1.0, *[0.0] * 8], dtype=torch.float64)
    start = torch.full((2,), math.log(0.1), dtype=torch.float64)

    def trained(loss, steps, pull=0.0):
        theta = torch.zeros((), dtype=torch.float64, requires_grad=True)
        for _ in range(steps):
            logps = (theta * features).log_softmax(0)
            batch = from_logps(logps[:1], logps[1:2], start[:1], start[1:])
            (slope,) = torch.autograd.grad(loss(batch).sum() - pull * logps[0], theta)
            theta = (theta - slope).detach().requires_grad_(True)
        p = (theta * features).softmax(0).detach()
        return [f"{x:.6f}" for x in (p[0].item(), p[1].item(), p[2:].sum().item())]

    flex = lambda rejected: LOSSES["flex_dpo"].bind(beta=0.1, beta_rejected=rejected)
    assert trained(flex(0.1), 100) == ["0.035483", "0.010558", "0.953959"]
    assert trained(flex(0.05), 100) == ["0.088501", "0.074898", "0.836601"]
    assert trained(flex(0.03), 100) == ["0.113787", "0.138534", "0.747679"]
    assert trained(flex(0.1), 100, pull=0.02) == ["0.051336", "0.022770", "0.925894"]


def test_the_likelihood_of_cpo_is_per_token_of_the_chosen_answer():
    plain = LOSSES["cpo"].bind(beta=0.1, weight=0.0)
    batch = known()
    bare = replace(batch, chosen=CandidateLogps(batch.chosen.logps))  # without a length: one part
    assert LOSSES["cpo"].bind(beta=0.1)(bare).item() - plain(bare).item() == pytest.approx(12.0)
