"""Losses on tokens: what masks, divergences and discounts do, and what the battery cannot see of parts."""

import dataclasses

import pytest
import torch

from diffalign.losses import CandidateLogps, PairLogps, loss_named
from tests.losses.logps import SIDES, fit, with_tokens

DPO = loss_named("logistic").bind(beta=0.5)
SPARSE = loss_named("sparse_po").bind(beta=0.5)


def given(loss=SPARSE):
    """Answers of several lengths, with divergences and masks that are zero behind their ends."""
    batch = fit(loss, with_tokens())

    def ended(s):
        there = torch.arange(s.parts.shape[1]) < s.lengths[:, None]
        apart = None if s.divergence is None else s.divergence * there
        return dataclasses.replace(s, divergence=apart, masks=s.masks * there)

    return dataclasses.replace(batch, chosen=ended(batch.chosen), rejected=ended(batch.rejected))


def on_both(batch, change):
    return dataclasses.replace(batch, chosen=change(batch.chosen), rejected=change(batch.rejected))


def weighed(batch, reward, divergence):
    masks = lambda s: torch.stack([torch.full_like(s.parts, reward), torch.full_like(s.parts, divergence)])
    return on_both(batch, lambda s: dataclasses.replace(s, masks=masks(s)))


def test_full_reward_masks_and_no_divergence_are_dpo():
    batch = weighed(given(), 1.0, 0.0)
    torch.testing.assert_close(SPARSE(batch), DPO(batch), rtol=1e-12, atol=1e-12)


def test_no_masks_count_every_token_and_nothing_behind_an_end():
    batch = given()
    bare = on_both(batch, lambda s: dataclasses.replace(s, masks=None))
    torch.testing.assert_close(SPARSE(bare), SPARSE(weighed(batch, 1.0, 1.0)), rtol=1e-12, atol=0)
    sparse = loss_named("sparse_po").bind(beta=0.5, l1_reward=0.25)
    tokens = batch.chosen.lengths + batch.rejected.lengths
    torch.testing.assert_close(sparse(bare) - SPARSE(bare), 0.25 * tokens.double(), rtol=1e-12, atol=1e-12)


def test_masks_times_c_are_a_beta_times_c():
    batch = given()
    tripled = on_both(batch, lambda s: dataclasses.replace(s, masks=3.0 * s.masks))
    sharper = loss_named("tdpo").bind(beta=1.5)
    torch.testing.assert_close(SPARSE(tripled), sharper(batch), rtol=1e-12, atol=0)


def test_straying_along_the_chosen_answer_pays_and_along_the_rejected_answer_costs():
    batch = given()
    further = lambda s: dataclasses.replace(s, divergence=s.divergence + 0.1)
    assert (SPARSE(dataclasses.replace(batch, chosen=further(batch.chosen))) < SPARSE(batch)).all()
    assert (SPARSE(dataclasses.replace(batch, rejected=further(batch.rejected))) > SPARSE(batch)).all()


@pytest.mark.parametrize("name", ["sparse_po", "segment"])
def test_the_gradient_by_every_part_mask_and_divergence_is_the_slope(name):
    loss = loss_named(name).bind(beta=0.5, **({"l1_reward": 0.01} if name == "sparse_po" else {"discount": 0.8}))
    batch = given(loss)
    fields = ("parts", "masks", "divergence") if name == "sparse_po" else ("parts",)
    leaves = [getattr(getattr(batch, side), f).clone().requires_grad_(True) for side in SIDES[:2] for f in fields]

    def moved(*values):
        rows = iter(values)
        sides = {s: dataclasses.replace(getattr(batch, s), **{f: next(rows) for f in fields}) for s in SIDES[:2]}
        return loss(dataclasses.replace(batch, **sides)).sum()

    assert torch.autograd.gradcheck(moved, leaves)


def test_the_mask_of_a_token_that_speaks_for_the_chosen_answer_is_pulled_up():
    batch = given()
    masks = batch.chosen.masks.clone().requires_grad_(True)
    loss = SPARSE(dataclasses.replace(batch, chosen=dataclasses.replace(batch.chosen, masks=masks)))
    gap = batch.chosen.parts - batch.reference_chosen.parts
    (found,) = torch.autograd.grad(loss.sum(), masks)
    lost = 1 - torch.exp(-loss.detach())  # s(-beta (u - delta))
    torch.testing.assert_close(found[0], -0.5 * lost[:, None] * gap, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("name", ["sparse_po", "segment"])
def test_the_reference_gets_no_gradient(name):
    loss = loss_named(name).bind(beta=0.5)
    batch = given(loss)
    leaf = lambda s: dataclasses.replace(s, parts=s.parts.clone().requires_grad_(True))
    batch = dataclasses.replace(batch, **{side: leaf(getattr(batch, side)) for side in SIDES})
    loss(batch).sum().backward()
    grads = [getattr(batch, side).parts.grad for side in SIDES]
    assert all(g is not None and g.abs().sum() > 0 for g in grads[:2]) and grads[2:] == [None, None]


def test_without_a_discount_a_segment_is_dpo_and_with_one_the_first_tokens_count_most():
    batch = given()
    torch.testing.assert_close(loss_named("segment").bind(beta=0.5)(batch), DPO(batch), rtol=1e-12, atol=1e-12)
    still = CandidateLogps(torch.zeros(1), torch.zeros(1, 3))
    early, late = (CandidateLogps(torch.tensor([1.0]), torch.tensor([row])) for row in ([1.0, 0, 0], [0, 0, 1.0]))
    loss = loss_named("segment").bind(beta=1.0, discount=0.5)
    first, last = (loss(PairLogps(one, still, still, still)) for one in (early, late))
    assert first < last
    assert last.item() == pytest.approx(torch.nn.functional.softplus(torch.tensor(-0.25)).item())


@pytest.mark.parametrize("name", ["sparse_po", "segment"])
def test_sums_are_refused(name):
    bare = PairLogps(*(CandidateLogps(torch.zeros(2)) for _ in range(4)))
    with pytest.raises(ValueError, match="only sums are given"):
        loss_named(name).bind(beta=0.5)(bare)
