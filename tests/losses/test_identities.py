"""Where one loss is another: the values and the gradients, not only the number at the start."""

import pytest
import torch

from diffalign.losses import LOSSES, PairLogps
from tests.losses.logps import SIDES, drawn, from_logps, with_logps
from tests.losses.test_golden_pairs import slopes

BETA = 0.7
DPO = LOSSES["logistic"].bind(beta=BETA)
SAME_AS_DPO = [
    ("dpo_gamma", {"gamma": 1.0}),
    ("flex_dpo", {"beta_rejected": BETA}),
    ("cpl_kl", {"lam": 1.0}),
    ("robust", {"flip": 0.0}),
    ("rpo", {"eta": 0.0}),
    ("logistic", {"f_divergence": "reverse_kl"}),
    ("logistic", {"ld_alpha": 1.0}),
]


def assert_same(one, other, batch):
    torch.testing.assert_close(one(batch), other(batch), rtol=1e-12, atol=1e-15)
    for found, expected in zip(slopes(one, batch), slopes(other, batch), strict=True):
        assert found == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("name, hyper", SAME_AS_DPO, ids=lambda x: x if isinstance(x, str) else next(iter(x)))
def test_at_their_neutral_settings_they_are_dpo(name, hyper):
    assert_same(LOSSES[name].bind(beta=BETA, **hyper), DPO, drawn(20, scale=3.0))


@pytest.mark.parametrize("name", ["aot", "aot_unpaired"])
def test_a_batch_of_one_has_one_rank(name):
    assert_same(LOSSES[name].bind(beta=BETA), DPO, drawn(1))


def test_without_a_reference_that_has_an_opinion_three_losses_are_dpo():
    drawn_ = drawn(9)
    indifferent = PairLogps(drawn_.chosen, drawn_.rejected, *(with_logps(drawn_, torch.zeros_like).pair))
    for loss in (
        LOSSES["cpl"].bind(beta=BETA, lam=1.0),
        LOSSES["cpo"].bind(beta=BETA, weight=0.0),
        LOSSES["dpo_gamma"].bind(beta=BETA, gamma=0.0),
    ):
        assert_same(loss, DPO, indifferent)


@pytest.mark.parametrize("flip", [0.1, 0.3])
def test_the_noisy_losses_are_dpo_and_a_line(flip):
    batch = drawn(20, scale=3.0)
    line = BETA * batch.margin
    robust, smoothed = (LOSSES[name].bind(beta=BETA, flip=flip)(batch) for name in ("robust", "logistic"))
    torch.testing.assert_close(robust, DPO(batch) - flip / (1 - 2 * flip) * line, rtol=1e-12, atol=1e-13)
    torch.testing.assert_close(smoothed, DPO(batch) + flip * line, rtol=1e-12, atol=1e-13)


def test_the_likelihood_of_rpo_is_all_that_it_adds():
    batch = drawn(9)
    more = LOSSES["rpo"].bind(beta=BETA, eta=0.2)(batch) - DPO(batch)
    torch.testing.assert_close(more, -0.2 * BETA * batch.chosen.logps, rtol=1e-12, atol=1e-14)


def test_simpo_of_equal_lengths_is_dpo_without_its_reference():
    rows = [getattr(drawn(9), side).logps for side in SIDES]
    batch = from_logps(*rows, tokens=([8] * 9, [8] * 9))
    simpo = LOSSES["simpo"].bind(beta=2.0, gamma_beta_ratio=0.0)
    assert_same(simpo, LOSSES["dpo_gamma"].bind(beta=0.25, gamma=0.0), batch)


def test_a_biased_cpl_against_a_reference_is_flex_dpo():
    flex = LOSSES["flex_dpo"].bind(beta=BETA, beta_rejected=0.6 * BETA)
    assert_same(LOSSES["cpl_kl"].bind(beta=BETA, lam=0.6), flex, drawn(9))


def test_asft_without_its_odds_is_fine_tuning():
    batch = with_logps(drawn(9), lambda x: -x.abs() - 0.1)
    assert torch.equal(LOSSES["asft"].bind(lam=0.0)(batch), LOSSES["sft"].bind()(batch))
    assert slopes(LOSSES["asft"].bind(lam=0.0), batch)[1] == [0.0] * 9


def test_the_divergence_of_exo_is_the_reverse_of_the_smoothed_logistic_loss():
    # Both are least at the same margin, and both are the divergence of two coins there: 0, up to the label's entropy.
    flip = 0.1
    exo, smoothed = (LOSSES[name].bind(beta=BETA, flip=flip) for name in ("exo", "logistic"))
    assert exo.loss.optimum(exo.hyper) == pytest.approx(smoothed.loss.optimum(smoothed.hyper), rel=1e-12)
    batch = drawn(9)
    q, p = torch.sigmoid(BETA * batch.margin), torch.tensor(1 - flip, dtype=torch.float64)
    divergence = lambda a, b: a * (a / b).log() + (1 - a) * ((1 - a) / (1 - b)).log()
    entropy = -(p * p.log() + (1 - p) * (1 - p).log())
    torch.testing.assert_close(exo(batch), divergence(q, p), rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(smoothed(batch), divergence(p, q) + entropy, rtol=1e-12, atol=1e-14)


def test_sppo_with_hard_labels_is_twice_sppo_with_win_rates_of_one_and_nothing():
    batch = drawn(5)
    sure = {"chosen": torch.ones(5, dtype=torch.float64), "rejected": torch.zeros(5, dtype=torch.float64)}
    rated = PairLogps(*(getattr(batch, side) for side in SIDES), rewards=sure)
    half = LOSSES["sppo"].bind(beta=0.1)(rated)
    torch.testing.assert_close(LOSSES["sppo_hard"].bind(beta=0.1)(batch), 2 * half, rtol=1e-13, atol=0)


def test_with_one_objective_that_counts_modpo_is_dpo():
    rewards = {side: torch.zeros(9, dtype=torch.float64) for side in ("chosen", "rejected")}
    batch = PairLogps(*(getattr(drawn(9), side) for side in SIDES), rewards=rewards)
    assert_same(LOSSES["modpo"].bind(beta=BETA, weight=1.0), DPO, batch)


def test_bco_without_a_shift_on_the_two_candidates_is_its_form_on_pairs():
    batch, zero = drawn(6), torch.zeros((), dtype=torch.float64)
    each = [
        LOSSES["bco"].bind(beta=BETA)(PairLogps(one, None, reference, desirable=torch.full((6,), good), baseline=zero))
        for one, reference, good in (
            (batch.chosen, batch.reference_chosen, True),
            (batch.rejected, batch.reference_rejected, False),
        )
    ]
    torch.testing.assert_close(LOSSES["bco_pair"].bind(beta=BETA)(batch), sum(each), rtol=1e-13, atol=0)


HALVES = [
    *(("dpo_gamma", {"gamma": 0.5}), ("flex_dpo", {"beta_rejected": 0.08}), ("cpl_kl", {}), ("exo", {}), ("nca", {})),
    *(("discopop", {}), ("apo_zero", {}), ("apo_down", {}), ("bco_pair", {}), ("sppo_hard", {}), ("aot", {})),
    *(("aot_unpaired", {}), ("cpl", {}), ("cpo", {})),
]


@pytest.mark.parametrize("name, hyper", HALVES)
def test_half_precision_costs_a_hundred_thousandth(name, hyper):
    loss = LOSSES[name].bind(beta=0.1, **hyper)
    low = with_logps(drawn(30, scale=10.0), lambda x: x.to(torch.bfloat16))
    exact = loss(with_logps(low, torch.Tensor.double))
    torch.testing.assert_close(loss(low).double(), exact, rtol=1e-5, atol=1e-6)
