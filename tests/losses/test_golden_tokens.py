"""Worked numbers of the methods that look at tokens and steps, to every digit that their descriptions print."""

import dataclasses
import math

import pytest
import torch

from diffalign.data.readers.formats.step_pairs import step_probability
from diffalign.labels import Label, expected
from diffalign.losses import CandidateLogps, PairLogps, loss_named
from diffalign.policies.language.network.token_masks import rescaled
from tests.losses.logps import from_margins

SPARSE = loss_named("sparse_po").bind(beta=0.8)


def tensor(*values):
    return torch.tensor([values], dtype=torch.float64)


def batch(parts, divergence=None, masks=None):
    parts = tensor(*parts)
    masks = None if masks is None else torch.tensor(masks, dtype=torch.float64)[:, None]
    return CandidateLogps(
        parts.sum(1), parts, divergence=None if divergence is None else tensor(*divergence), masks=masks
    )


CHOSEN = batch((-1.0, -2.0, -0.5), (0.02, 0.10, 0.04), ((1, 0, 0.5), (0.5, 0, 1)))
REJECTED = batch((-0.8, -1.0), (0.03, 0.05), ((0.5, 1), (1, 1)))
EXAMPLE = PairLogps(CHOSEN, REJECTED, batch((-1.2, -1.5, -0.7)), batch((-0.7, -1.3)))


def masked(reward, divergence):
    """The example with the same two weights everywhere."""
    side = lambda s: torch.stack([torch.full_like(s.parts, reward), torch.full_like(s.parts, divergence)])
    chosen, rejected = (dataclasses.replace(s, masks=side(s)) for s in EXAMPLE.pair)
    return dataclasses.replace(EXAMPLE, chosen=chosen, rejected=rejected)


def without_masks():
    chosen, rejected = (dataclasses.replace(s, masks=None) for s in EXAMPLE.pair)
    return dataclasses.replace(EXAMPLE, chosen=chosen, rejected=rejected)


@pytest.mark.parametrize(
    ("given", "printed"),
    [
        (EXAMPLE, 0.685179),  # u = 0.05, delta = 0.03
        (masked(1.0, 1.0), 0.785014),  # TDPO-1: u = -0.30, delta = -0.08
        (without_masks(), 0.785014),
        (masked(1.0, 0.0), 0.820330),  # DPO
    ],
)
def test_sparse_po(given, printed):
    assert SPARSE(given).item() == pytest.approx(printed, abs=5e-7)


def test_tdpo_2_weighs_the_gap_of_divergences_and_its_first_form_is_what_tdpo_names():
    # u = -0.30 and d_l - d_w = -0.08 at beta 0.8, so -0.30 + 0.5 * 0.08 at the default weight.
    for alpha, gain in ((0.5, -0.26), (1.0, -0.22), (0.0, -0.30)):
        found = loss_named("tdpo2").bind(beta=0.8, alpha=alpha)(without_masks()).item()
        assert found == pytest.approx(math.log1p(math.exp(-0.8 * gain)), rel=1e-12)
    assert loss_named("tdpo") is loss_named("tdpo1") is loss_named("sparse_po")
    assert "TDPO-1" in loss_named("tdpo").summary


def test_under_tdpo_2_the_chosen_answers_divergence_is_a_measure_without_gradient():
    def pulls(name, **hyper):
        batch = without_masks()
        leaves = [side.divergence.clone().requires_grad_(True) for side in batch.pair]
        sides = [dataclasses.replace(s, divergence=x) for s, x in zip(batch.pair, leaves, strict=True)]
        moved = dataclasses.replace(batch, chosen=sides[0], rejected=sides[1])
        loss = loss_named(name).bind(beta=0.8, **hyper)(moved).sum()
        return torch.autograd.grad(loss, leaves, materialize_grads=True, allow_unused=True)

    chosen, rejected = pulls("tdpo2", alpha=1.0)
    first_chosen, first_rejected = pulls("tdpo")
    assert not chosen.any() and (first_chosen < 0).all()
    torch.testing.assert_close(rejected, first_rejected)


def test_activations_become_a_mask_whether_or_not_they_were_standardised_first():
    values, owners = torch.tensor([0.2, 0.8, 0.5], dtype=torch.float64), torch.zeros(3, dtype=torch.long)
    standard = (values - values.mean()) / values.std()
    for given in (values, standard, 3.0 * values - 7.0):
        torch.testing.assert_close(rescaled(given, owners, 1), torch.tensor([0.0, 1.0, 0.5], dtype=torch.float64))


def test_a_step_pair_is_as_sure_as_its_visits():
    assert 1 - step_probability((5, 2)) == pytest.approx(2 / 7)
    assert step_probability((1, 9)) == 0.5, "a label never speaks against the chosen step"
    assert step_probability((0, 0)) == 1.0 and step_probability((0, 1)) == 0.5
    label = Label(torch.tensor([step_probability((5, 2))], dtype=torch.float64), torch.ones(1, dtype=torch.float64))
    found = expected(loss_named("logistic").bind(beta=0.1), from_margins([1.5]), label)
    assert found.item() == pytest.approx(0.663814, abs=5e-7)
    assert found.item() == pytest.approx(0.620957 + 2 / 7 * 0.15, abs=5e-7)


def test_a_segment_that_regrets_less_is_preferred():
    # Regrets 0 and 1 at beta 1: an advantage of -1 is the second segment's regret.
    segment = loss_named("segment").bind(beta=1.0)
    still = batch((0.0, 0.0))
    pair = PairLogps(still, batch((-0.25, -0.75)), still, still)
    assert torch.exp(-segment(pair)).item() == pytest.approx(0.731059, abs=5e-7)
