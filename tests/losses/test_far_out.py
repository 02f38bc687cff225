"""Far out, in float32: from -1e6 to 1e6 every loss and gradient is finite, and no gradient falls to zero at a cliff."""

import dataclasses
import math

import pytest
import torch

from diffalign.losses import LOSSES, CandidateLogps, PairLogps
from diffalign.losses.logp_settings import settings_of
from diffalign.losses.probability import STEEP, SURE, bounded_exp, bounded_expm1, log1mexp
from tests.losses.logps import fit, taken
from tests.losses.plain import PLAIN
from tests.losses.test_divergences import EACH

SIZES = torch.cat([10.0 ** torch.arange(-9.0, 6.01, 0.25), torch.arange(2.0, 130.0, 1.0)]).unique()
"""From a billionth to a million, and every whole number where exponentials leave float32."""
CASES = [
    pytest.param(row.bind(**hyper, **bent), id="-".join([name, *(f"{k}={v}" for k, v in (hyper | bent).items())]))
    for name, row in LOSSES.items()
    for hyper in PLAIN[name].settings
    if not PLAIN[name].aside
    for bent in ([{"f_divergence": d, "f_alpha": a} for d, a in EACH] if "f_divergence" in settings_of(row) else [{}])
]


def _is_list(loss):
    return loss.loss.kind == "list"


def pulls(loss, side, values):
    """The loss of each value as one side's log-probability, all others 0 or ordinary, and its derivative by it."""
    values = values.clone().requires_grad_(True)
    zeros = torch.zeros_like(values)
    batch = fit(loss, PairLogps(*map(CandidateLogps, (zeros, zeros, zeros, zeros))), baseline=0.0)
    batch = taken(batch, torch.zeros(len(values), dtype=torch.long))  # one example, so that only the value differs
    given = getattr(batch, side)
    if given.parts is None:
        moved = dataclasses.replace(given, logps=values)
    else:
        spread = torch.tensor([0.5, 0.3, 0.2])
        moved = dataclasses.replace(given, logps=values, parts=values[:, None] * spread)
    batch = dataclasses.replace(batch, **{side: moved})
    if loss.loss.accepts_undesirable:
        batch = dataclasses.replace(batch, desirable=torch.full((len(values),), side == "chosen"))
    found = loss(batch)
    assert found.dtype == torch.float32
    (pull,) = torch.autograd.grad(found.sum(), values, allow_unused=True, materialize_grads=True)
    return found.detach(), pull


def losing(loss, side):
    """Log-probabilities of a candidate, from where the loss is content with it to where the policy is most wrong."""
    if side == "chosen":
        return -SIZES
    return SIZES if PLAIN[loss.name].below is None else -SIZES.flip(0)  # a probability is at most 1


def cliffs(loss, pull):
    """Positions after which a gradient that is no rounding error, and has not faded before, is zero."""
    size = pull.abs()
    before = size[:-1]
    counts = (before > 1e-3 * size.cummax(0).values[:-1]) & (before > 1e-6 * loss.beta)
    return ((size[1:] == 0) & counts).nonzero().flatten().tolist()


@pytest.mark.parametrize("loss", CASES)
def test_every_loss_and_gradient_is_finite_from_minus_to_plus_a_million(loss):
    everywhere = torch.cat([-SIZES.flip(0), torch.zeros(1), SIZES])
    for side in ("chosen", "rejected") if loss.loss.kind != "single" else ("chosen",):
        found, pull = pulls(loss, side, everywhere)
        assert found.isfinite().all() and pull.isfinite().all(), side


@pytest.mark.parametrize("loss", [case for case in CASES if case.values[0].loss.roles or _is_list(case.values[0])])
def test_further_answers_far_out_leave_loss_and_gradient_finite(loss):
    everywhere = torch.cat([-SIZES.flip(0), torch.zeros(1), SIZES])
    zeros = torch.zeros_like(everywhere)
    batch = fit(loss, PairLogps(*map(CandidateLogps, (zeros, zeros, zeros, zeros))))
    for role, answer in batch.further.items():
        values = everywhere.clone().requires_grad_(True)
        moved = dataclasses.replace(answer.policy, logps=values)
        if moved.parts is not None:
            moved = dataclasses.replace(moved, parts=values[:, None] * torch.full((moved.parts.shape[1],), 0.25))
        further = {**batch.further, role: dataclasses.replace(answer, policy=moved)}
        found = loss(dataclasses.replace(batch, further=further))
        (pull,) = torch.autograd.grad(found.sum(), values, allow_unused=True, materialize_grads=True)
        assert found.isfinite().all() and pull.isfinite().all(), role


@pytest.mark.parametrize("loss", CASES)
def test_no_gradient_ends_at_a_cliff_on_the_losing_side(loss):
    for side in ("chosen", "rejected") if loss.loss.kind != "single" else ("chosen",):
        values = losing(loss, side)
        _, pull = pulls(loss, side, values)
        assert not (found := cliffs(loss, pull)), (side, values[found], pull[found])


@pytest.mark.parametrize("loss", [case for case in CASES if case.values[0].loss.takes == "margin"])
def test_a_loss_of_one_margin_never_falls_as_a_pair_is_ranked_more_wrongly(loss):
    if PLAIN[loss.name].hill(loss.hyper) is not None or loss.name == "exo":  # hills near 0, and a plateau far out
        return
    for side in ("chosen", "rejected"):
        values = losing(loss, side)
        found, _ = pulls(loss, side, values[values.abs() > 1e-3])
        assert (found.diff() >= -1e-6 * found[1:].abs()).all(), side


@pytest.mark.parametrize("curve, plain", [(bounded_exp, math.exp), (bounded_expm1, math.expm1)])
def test_an_exponential_is_exact_up_to_its_edge_and_a_straight_line_beyond(curve, plain):
    x = torch.tensor([-800.0, -3.0, 1e-9, 19.9, STEEP, 21.0, 1e6], dtype=torch.float64, requires_grad=True)
    found = curve(x)
    (slope,) = torch.autograd.grad(found.sum(), x)
    edge = plain(STEEP)
    line = [edge + math.exp(STEEP) * (v - STEEP) for v in (21.0, 1e6)]
    assert found.tolist() == pytest.approx([*map(plain, x.tolist()[:5]), *line], rel=1e-15)
    assert slope.tolist() == pytest.approx([math.exp(min(v, STEEP)) for v in x.tolist()], rel=1e-14)


def test_a_complement_is_exact_up_to_its_edge_and_a_straight_line_beyond():
    x = torch.tensor([-800.0, -1.0, -0.1, -1e-6, SURE, -1e-8, 0.0, 1.0], dtype=torch.float64, requires_grad=True)
    found = log1mexp(x)
    (slope,) = torch.autograd.grad(found.sum(), x)
    plain = [math.log1p(-math.exp(v)) if v < -0.7 else math.log(-math.expm1(v)) for v in x.tolist()[:5]]
    steepest = -1 / math.expm1(-SURE)
    assert found.tolist() == pytest.approx([*plain, *(plain[-1] + steepest * (v - SURE) for v in x.tolist()[5:])])
    assert slope.tolist() == pytest.approx([-1 / math.expm1(min(-v, 700.0)) for v in x.tolist()[:5]] + [steepest] * 3)


def test_a_sure_rejected_answer_is_pushed_the_harder_the_surer_it_is():
    # 1e6 at -1e-6, and formerly 0 at -1e-8.
    a_l = torch.tensor([-1e-4, -1e-6, -1e-7, -1e-8, 0.0], requires_grad=True)
    fixed = CandidateLogps(torch.full((5,), -1.0))
    (push,) = torch.autograd.grad(LOSSES["asft"].bind()(PairLogps(fixed, CandidateLogps(a_l))).sum(), a_l)
    assert push.tolist() == pytest.approx([1e4, 1e6, 1e7, 1e7, 1e7], rel=1e-3)


def test_a_lost_chosen_answer_is_pulled_at_every_distance_under_forward_kl():
    # 2e33 at -79, and formerly 0 at -81.
    logratios = torch.tensor([-19.0, -20.0, -79.0, -81.0, -1e4], requires_grad=True)
    zeros = CandidateLogps(torch.zeros(5))
    loss = LOSSES["logistic"].bind(beta=1.0, f_divergence="forward_kl")
    (pull,) = torch.autograd.grad(loss(PairLogps(CandidateLogps(logratios), zeros, zeros, zeros)).sum(), logratios)
    assert (-pull).tolist() == pytest.approx([math.exp(19.0), *[math.exp(20.0)] * 4], rel=1e-5)
