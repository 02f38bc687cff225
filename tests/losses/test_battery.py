"""One battery for every row of the catalogue: what a row claims, its function does."""

import dataclasses
import math
import re

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from diffalign.losses import LOSSES, AnswerLogps, CandidateLogps, PairLogps, hyperparameters
from diffalign.losses.loss import NEEDS
from tests.losses.logps import (
    SIDES,
    bared,
    drawn,
    everywhere_equal,
    examples,
    fit,
    from_logps,
    from_margins,
    taken,
    with_logps,
    with_tokens,
)
from tests.losses.plain import PLAIN, Example, value, values

CASES = [
    pytest.param(row.bind(**hyper), id="-".join([name, *(f"{k}={v}" for k, v in hyper.items())]))
    for name, row in LOSSES.items()
    for hyper in (PLAIN[name].settings if name in PLAIN else ())
]
ON_A_MARGIN = [case for case in CASES if case.values[0].loss.takes == "margin"]
ON_ALL_LOGPS = [case for case in CASES if case.values[0].loss.takes == "logps"]
AGAINST_A_REFERENCE = [case for case in CASES if case.values[0].loss.needs_reference]
FIXED_AT_ZERO = [case for case in AGAINST_A_REFERENCE if not case.values[0].loss.uses_absolute_logps]
ON_PAIRS = [case for case in CASES if case.values[0].loss.kind == "pair"]
BY_THEMSELVES = [c for c in CASES if c.values[0].loss.uses_absolute_logps or PLAIN[c.values[0].name].apart]
ARXIV = re.compile(r"\d{4}\.\d{5}")
QUIET = settings(max_examples=30, deadline=None, derandomize=True)
REACHES = st.floats(-30.0, 30.0)
"""Margins in units of 1 / beta: where the curves bend."""


def _gaps(row) -> list[str]:
    """What a row leaves open."""
    gaps = [field for field in ("summary", "formula", "source", "advice") if not getattr(row, field).strip()]
    gaps += ["arXiv in source"] * ("arXiv" not in row.source)
    gaps += ["modalities"] * (not row.media or not set(row.media) <= {"image", "video", "text"})
    gaps += ["needs"] * (not set(row.needs) <= set(NEEDS))
    gaps += ["plain formula"] * (row.name not in PLAIN)
    gaps += ["papers"] * ([paper.arxiv for paper in row.papers] != list(dict.fromkeys(ARXIV.findall(row.source))))
    given = {name: default for name, default in hyperparameters(row).items() if not isinstance(default, bool)}
    gaps += [f"limits of {name}" for name in set(given) - set(row.choices) ^ set(row.limits)]
    gaps += [f"words of {name}" for name, value in given.items() if isinstance(value, str) and name not in row.choices]
    # Where a reference is needed it also fixes the loss at the start, unless a likelihood counts by itself.
    gaps += ["at_zero"] * ((row.needs_reference and not row.uses_absolute_logps) != (row.at_zero is not None))
    gaps += ["rewards"] * (row.kind == "list" and not {"reference", "rewards"} & set(row.needs))
    gaps += ["kind"] * (row.accepts_undesirable and row.kind != "single")
    if row.takes == "margin":
        gaps += [claim for claim in ("slope_at_zero", "optimum") if getattr(row, claim) is None]
    return gaps


@pytest.mark.parametrize("name", LOSSES)
def test_every_row_is_complete_and_explains_itself(name):
    row = LOSSES[name]
    assert not _gaps(row)
    assert row.name == name
    assert all(word in row.explain() for word in (row.formula, row.source, row.advice))


def test_an_incomplete_row_is_caught():
    row = dataclasses.replace(
        LOSSES["hinge"], name="new", source=" ", advice="", optimum=None, slope_at_zero=None, limits={}, at_zero=None
    )
    assert set(_gaps(row)) >= {
        *("source", "advice", "arXiv in source", "plain formula", "limits of beta", "optimum", "slope_at_zero"),
        "at_zero",
    }
    assert _gaps(dataclasses.replace(LOSSES["sft"], at_zero=lambda h: 0.0)) == ["at_zero"]


def test_the_battery_tries_every_loss():
    assert _names(CASES) == set(LOSSES) == set(PLAIN)


def test_the_battery_leaves_out_only_what_a_row_cannot_have():
    rows = LOSSES.values()
    assert _names(ON_A_MARGIN) == {row.name for row in rows if row.takes == "margin"} >= {"logistic", "ipo"}
    assert set(LOSSES) - _names(AGAINST_A_REFERENCE) == {row.name for row in rows if not row.needs_reference}
    assert _names(AGAINST_A_REFERENCE) - _names(FIXED_AT_ZERO) == {
        row.name for row in rows if row.uses_absolute_logps
    } & _names(AGAINST_A_REFERENCE)
    assert set(LOSSES) - _names(ON_PAIRS) == {row.name for row in rows if row.kind != "pair"}
    for part in (ON_A_MARGIN, ON_ALL_LOGPS, AGAINST_A_REFERENCE, FIXED_AT_ZERO, ON_PAIRS):
        assert 0 < len(part) < len(CASES)
    aside = {name for name, plain in PLAIN.items() if plain.aside}
    assert {"rationale", "content_degree"} <= aside and len(aside) < len(LOSSES) / 8
    turned = {name for name, plain in PLAIN.items() if plain.past}
    assert len(turned) < len(LOSSES) / 2  # of the others the battery asks that they pull the way of the label


def replace_logps(batch, side, logps):
    return dataclasses.replace(getattr(batch, side), logps=logps)


def _names(cases) -> set[str]:
    return {case.values[0].name for case in cases}


@pytest.mark.parametrize("loss", ON_A_MARGIN)
@given(reach=REACHES)
@QUIET
def test_the_function_equals_the_plain_formula(loss, reach):
    margin = reach / loss.beta
    found = loss(from_margins([margin])).item()
    assert found == pytest.approx(value(loss, Example(margin)), rel=1e-12, abs=1e-12)


@pytest.mark.parametrize("loss", ON_ALL_LOGPS)
@given(logps=st.lists(REACHES, min_size=4, max_size=4))
@QUIET
def test_the_function_of_all_logps_equals_the_plain_formula(loss, logps):
    # Twice: of single examples the second is an undesirable one.
    unit = loss.beta if loss.loss.needs_reference else 1.0
    batch = fit(loss, from_logps(*([x / unit] * 2 for x in logps)))
    assert loss(batch).tolist() == pytest.approx(values(loss, examples(batch)), rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("reference_lengths", [True, False])
@pytest.mark.parametrize("loss", CASES)
def test_tokens_and_lengths_enter_as_in_the_plain_formula(loss, reference_lengths):
    # A stored reference may be one number per candidate, without a length: it is the same candidate's.
    batch = fit(loss, with_tokens(scale=1 / loss.beta, reference_lengths=reference_lengths))
    assert len(set(batch.chosen.lengths.tolist())) > 2
    assert loss(batch).tolist() == pytest.approx(values(loss, examples(batch)), rel=1e-10, abs=1e-12)


@pytest.mark.parametrize("loss", [case for case in CASES if case.values[0].hyper.get("per_token")])
def test_a_mean_over_tokens_is_a_setting_and_logps_without_lengths_have_length_one(loss):
    batch = fit(loss, with_tokens(scale=1 / loss.beta))
    summed = loss.loss.bind(**{**loss.hyper, "per_token": False})
    bare = bared(batch)
    assert torch.equal(loss(bare), summed(bare)) and torch.equal(summed(batch), summed(bare))
    assert not torch.equal(loss(batch), summed(batch))
    # Rewards and margins are those that the loss sees.
    for found, expected in zip(loss.rewards(batch), summed.rewards(batch.per_token()), strict=True):
        assert torch.equal(found, expected) and not torch.equal(found, loss.beta * batch.chosen_logratio)
    if loss.loss.takes == "margin":
        assert torch.equal(loss.saturation(batch), summed.saturation(batch.per_token()))


@pytest.mark.parametrize("loss", FIXED_AT_ZERO)
def test_an_equal_policy_and_reference_cost_what_is_claimed(loss):
    logps = torch.tensor([-0.03, -120.5, 0.0], dtype=torch.float64)
    batch = fit(loss, PairLogps(*map(CandidateLogps, (logps, 2 * logps, logps, 2 * logps))), baseline=0.0)
    batch = everywhere_equal(batch)
    assert torch.equal(batch.margin, torch.zeros(3, dtype=torch.float64))
    if loss.at_zero is None and loss.loss.kind == "list":  # then its length and rewards fix it, and no likelihood
        torch.testing.assert_close(loss(with_logps(batch, lambda x: 3 * x - 1)), loss(batch), rtol=1e-14, atol=0)
        return
    if loss.at_zero is None:  # weights of their own for the two sides, or a reference that counts in part
        assert len(set(loss(batch).tolist())) > 1
        return
    torch.testing.assert_close(loss(batch), torch.full((3,), loss.at_zero, dtype=torch.float64), rtol=1e-15, atol=0)


@pytest.mark.parametrize("loss", ON_A_MARGIN)
def test_the_slope_at_zero_is_what_is_claimed(loss):
    claimed = loss.loss.slope_at_zero(loss.hyper)
    step = 1e-5 / loss.beta
    low, high = (loss(from_margins([m])).item() for m in (-step, step))
    assert (high - low) / (2 * step) == pytest.approx(claimed, rel=1e-6)
    assert loss.slope(torch.zeros(1, dtype=torch.float64)).item() == pytest.approx(claimed, rel=1e-12)


@pytest.mark.parametrize("loss", ON_A_MARGIN)
def test_the_loss_falls_to_the_claimed_optimum_and_rises_after_it(loss):
    optimum = loss.loss.optimum(loss.hyper)
    left = (min(optimum, 8.0 / loss.beta)) + torch.linspace(-20.0, 0.0, 60, dtype=torch.float64) / loss.beta
    hill = PLAIN[loss.name].hill(loss.hyper)
    if hill is not None:
        assert 0 < hill[1] - hill[0] < 0.5
        up = torch.linspace(*hill, 20, dtype=torch.float64) / loss.beta
        assert (loss(from_margins(up)).diff() > 0).all()
        left = left[(left * loss.beta < hill[0] - 0.01) | (left * loss.beta > hill[1] + 0.5)]
    assert (loss(from_margins(left)).diff() < 0).all()
    if math.isfinite(optimum):
        right = optimum + torch.linspace(0.0, 20.0, 60, dtype=torch.float64) / loss.beta
        assert (loss(from_margins(right)).diff() >= 0).all()


@pytest.mark.parametrize("loss", [case for case in ON_A_MARGIN if case.values[0].loss.skew])
@given(reach=REACHES)
@QUIET
def test_swapping_the_label_costs_the_claimed_multiple_of_the_margin(loss, reach):
    batch = from_margins([reach / loss.beta])
    difference = (loss(batch) - loss(batch.swapped())).item()
    assert difference == pytest.approx(loss.loss.skew(loss.hyper) * reach / loss.beta, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("loss", [case for case in ON_A_MARGIN if not case.values[0].loss.skew])
def test_a_row_without_a_skew_has_none(loss):
    margins = torch.tensor([0.5, 1.0, 2.0, 4.0, 8.0], dtype=torch.float64) / loss.beta
    ratio = (loss(from_margins(margins)) - loss(from_margins(-margins))) / margins
    assert ratio.max() - ratio.min() > 0.1 * loss.beta


@pytest.mark.parametrize("loss", ON_A_MARGIN)
@given(reach=REACHES, factor=st.floats(0.1, 10.0))
@QUIET
def test_a_larger_beta_is_a_larger_margin(loss, reach, factor):
    margin = reach / loss.beta
    sharper = loss.loss.bind(**{**loss.hyper, "beta": factor * loss.beta})
    one, other = sharper(from_margins([margin])).item(), loss(from_margins([factor * margin])).item()
    assert one / sharper.at_zero == pytest.approx(other / loss.at_zero, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("loss", CASES)
def test_permuting_the_batch_permutes_the_losses(loss):
    batch, order = fit(loss, drawn(9, scale=1 / loss.beta)), torch.tensor([3, 0, 8, 1, 7, 2, 6, 5, 4])
    assert torch.equal(loss(taken(batch, order)), loss(batch)[order])


@pytest.mark.parametrize("loss", [case for case in CASES if not case.values[0].loss.needs_whole_batch])
def test_a_pair_costs_the_same_by_itself_as_in_a_batch(loss):
    batch = fit(loss, drawn(5, scale=1 / loss.beta))
    alone = [loss(taken(batch, slice(i, i + 1))) for i in range(5)]
    torch.testing.assert_close(torch.cat(alone), loss(batch), rtol=1e-14, atol=0)


@pytest.mark.parametrize("loss", CASES)
def test_a_gradient_reaches_the_policy_and_none_the_reference(loss):
    batch = fit(loss, from_logps(*([-3.0, -3.0] for _ in range(4))), baseline=0.0)
    leaf = lambda s: dataclasses.replace(s, logps=s.logps.detach().clone().requires_grad_(True))
    batch = dataclasses.replace(
        batch,
        **{side: leaf(getattr(batch, side)) for side in SIDES},
        further={role: AnswerLogps(leaf(a.policy), leaf(a.reference)) for role, a in batch.further.items()},
        rewards={role: x.requires_grad_(True) for role, x in batch.rewards.items()},
        extra_models={n: tuple(map(leaf, pair)) if n == "previous" else pair for n, pair in batch.extra_models.items()},
        baseline=None if batch.baseline is None else batch.baseline.requires_grad_(True),
    )
    if loss.loss.accepts_undesirable:
        batch = dataclasses.replace(batch, desirable=torch.tensor([True, False]))
    if "parts" in loss.loss.needs:
        return  # what is a gradient of parts, their own tests look at
    loss(batch).sum().backward()
    chosen, rejected, *references = (getattr(batch, side).logps.grad for side in SIDES)
    still = [
        *references,
        *(x.grad for x in batch.rewards.values()),
        batch.baseline.grad if loss.loss.accepts_undesirable else None,
    ]
    still += [s.logps.grad for pair in batch.extra_models.values() for s in pair if s.logps.requires_grad]
    still += [answer.reference.logps.grad for answer in batch.further.values()]
    assert all(gradient is None for gradient in still)
    moved = [answer.policy.logps.grad for answer in batch.further.values()]
    assert all((gradient != 0).any() for gradient in moved)
    if PLAIN[loss.name].aside:
        assert chosen is None and rejected is None
        assert PLAIN[loss.name].past or all((gradient < 0).all() for gradient in moved)
        return
    assert chosen is not None and (rejected is None) == (loss.loss.kind == "single")
    if not PLAIN[loss.name].past:  # at margin 0 every loss pulls the way of the label
        assert chosen[0] < 0 < chosen[1] if loss.loss.accepts_undesirable else (chosen < 0).all()
        assert rejected is None or (rejected > 0).all()


@pytest.mark.parametrize("loss", CASES)
def test_the_gradient_is_the_slope_of_the_loss(loss):
    batch, step = fit(loss, drawn(6, seed=4, scale=1 / loss.beta)), 1e-5 / loss.beta
    for side in ("chosen",) if loss.loss.kind == "single" else ("chosen", "rejected"):
        logps = getattr(batch, side).logps
        leaf = logps.clone().requires_grad_(True)
        if "parts" in loss.loss.needs or PLAIN[loss.name].aside:  # parts are moved by their own tests
            continue
        moved = lambda x, side=side: loss(dataclasses.replace(batch, **{side: replace_logps(batch, side, x)}))
        (found,) = torch.autograd.grad(moved(leaf).sum(), leaf)
        slope = (moved(logps + step) - moved(logps - step)) / (2 * step)
        if loss.loss.needs_whole_batch:  # an example's score may count in another one's loss
            each = step * torch.eye(len(logps), dtype=logps.dtype)
            slope = torch.stack([(moved(logps + x) - moved(logps - x)).sum() for x in each]) / (2 * step)
        torch.testing.assert_close(found, slope, rtol=1e-5, atol=1e-6 * slope.abs().max().item())


@pytest.mark.parametrize("loss", [case for case in CASES if case.values[0].loss.roles])
def test_the_gradient_by_a_further_answer_is_the_slope_of_the_loss(loss):
    batch, step = fit(loss, drawn(6, seed=4, scale=1 / loss.beta)), 1e-5 / loss.beta
    for role, answer in batch.further.items():
        logps = answer.policy.logps

        def moved(x, role=role, answer=answer):
            other = AnswerLogps(dataclasses.replace(answer.policy, logps=x), answer.reference)
            return loss(dataclasses.replace(batch, further={**batch.further, role: other}))

        leaf = logps.clone().requires_grad_(True)
        (found,) = torch.autograd.grad(moved(leaf).sum(), leaf)
        slope = (moved(logps + step) - moved(logps - step)) / (2 * step)
        assert (slope != 0).any()
        torch.testing.assert_close(found, slope, rtol=1e-5, atol=1e-6 * slope.abs().max().item())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("loss", CASES)
def test_extreme_margins_stay_finite(loss, dtype):
    # Twice, so that of single examples each is once desirable and once not; a sure candidate is among them.
    batch = from_margins([-1e4, 1e4, -1e4 / loss.beta, 1e4 / loss.beta, 0.0] * 2, dtype)
    batch = fit(loss, batch)
    if loss.loss.accepts_undesirable:
        batch = dataclasses.replace(batch, desirable=torch.arange(10) < 5, baseline=torch.tensor(1e3, dtype=dtype))
    read = "parts" if "parts" in loss.loss.needs else "logps"
    leaves = [getattr(side, read).clone().requires_grad_(True) for side in batch.pair]
    sides = (dataclasses.replace(s, **{read: x}) for s, x in zip(batch.pair, leaves, strict=True))
    found = loss(dataclasses.replace(batch, **dict(zip(("chosen", "rejected"), sides, strict=True))))
    if PLAIN[loss.name].aside:
        found = found + 0.0 * sum(leaves)
    gradients = torch.autograd.grad(found.sum(), leaves, materialize_grads=True, allow_unused=True)
    assert found.isfinite().all() and all(gradient.isfinite().all() for gradient in gradients)
    if loss.loss.takes == "margin":
        assert loss.saturation(batch).isfinite().all()


@pytest.mark.parametrize("loss", [case for case in CASES if case not in AGAINST_A_REFERENCE])
def test_a_loss_that_needs_no_reference_reads_none(loss):
    batch = fit(loss, drawn(4))
    nothing = CandidateLogps(torch.full((4,), math.nan))
    with_ = lambda x: dataclasses.replace(batch, reference_chosen=x, reference_rejected=x)
    assert torch.equal(loss(with_(None)), loss(batch)) and torch.equal(loss(with_(nothing)), loss(batch))
    assert loss.at_zero is None and loss.loss.at_zero is None


@pytest.mark.parametrize("loss", CASES)
def test_single_candidates_are_trained_on_or_refused_with_what_to_take(loss):
    batch = fit(loss, drawn(4))
    single = dataclasses.replace(batch, rejected=None, reference_rejected=None)
    if loss.loss.kind == "single":
        assert torch.equal(loss(single), loss(batch))
    else:
        with pytest.raises(ValueError, match="rejected is None.*such as sft or kto"):
            loss(single)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("loss", CASES)
def test_half_precision_logps_are_upcast_before_any_subtraction(loss, dtype):
    low = fit(loss, drawn(6, dtype=dtype))
    high = with_logps(low, torch.Tensor.float)
    assert loss(low).dtype == torch.float32
    assert torch.equal(loss(low), loss(high))
    if loss.loss.takes == "margin":
        margin = low.chosen.logps
        assert torch.equal(
            loss.loss.function(margin, **loss.arguments), loss.loss.function(margin.float(), **loss.arguments)
        )


@pytest.mark.parametrize(
    "loss", [c for c in ON_PAIRS if c not in BY_THEMSELVES and "parts" not in c.values[0].loss.needs]
)
@given(shift=st.floats(-2.0, 2.0))
@QUIET
def test_what_both_candidates_gain_alike_changes_nothing(loss, shift):
    batch = fit(loss, drawn(4, scale=1 / loss.beta))
    moved = dataclasses.replace(
        batch,
        chosen=replace_logps(batch, "chosen", batch.chosen.logps + shift),
        rejected=replace_logps(batch, "rejected", batch.rejected.logps + shift),
    )
    torch.testing.assert_close(loss(moved), loss(batch), rtol=1e-9, atol=1e-9 / loss.beta**2)


@pytest.mark.parametrize("loss", BY_THEMSELVES)
def test_where_a_likelihood_counts_itself_a_common_gain_changes_the_loss(loss):
    batch = fit(loss, drawn(4, scale=1 / loss.beta))
    gain = lambda side: replace_logps(batch, side, getattr(batch, side).logps - 0.1 / loss.beta)
    both = dataclasses.replace(batch, chosen=gain("chosen"), rejected=gain("rejected"))
    assert ((loss(both) - loss(batch)).abs() > 1e-4).all()


@pytest.mark.parametrize("loss", ON_A_MARGIN)
def test_saturation_is_one_at_margin_zero_and_needs_no_gradient_of_the_caller(loss):
    with torch.no_grad():
        saturation = loss.saturation(from_margins([0.0, 0.0]))
    torch.testing.assert_close(saturation, torch.ones(2, dtype=torch.float64))
    assert not saturation.requires_grad
