"""One battery for every label and every loss: what must hold of the expected loss, whoever made the label."""

import dataclasses
import itertools

import pytest
import torch

from diffalign.labels import LABELS, Label, expected, swapped_by, without_gradient
from diffalign.losses import LOSSES, CandidateLogps, PairLogps
from tests.labels.rows import AGAINST_A_REFERENCE, BOUND, PAIRS, TRIES, label, made
from tests.losses.logps import drawn, from_margins, taken

SCALES = [1.0, -2.5, 0.0, 0.3, -1.0]
BOTH = [
    pytest.param(name, case.values[0], id=f"{name}-{case.id}")
    for name, case in itertools.product(LABELS, AGAINST_A_REFERENCE)
]


def _pull(loss, batch, given):
    """Gradients of the summed expected loss by both candidates' log-probabilities."""
    leaves = [side.logps.detach().clone().requires_grad_(True) for side in (batch.chosen, batch.rejected)]
    moved = dataclasses.replace(batch, chosen=CandidateLogps(leaves[0]), rejected=CandidateLogps(leaves[1]))
    return torch.autograd.grad(expected(loss, moved, given).sum(), leaves)


def test_the_battery_tries_every_label_and_leaves_out_only_losses_that_are_no_pure_function_of_the_margin():
    assert set(LABELS) <= set(TRIES)
    assert {case.id for case in BOUND} == set(LOSSES)
    left_out = {case.id for case in BOUND} - {case.id for case in AGAINST_A_REFERENCE}
    assert left_out == {name for name, row in LOSSES.items() if not row.is_pure_margin}
    assert {"sft", "mapo", "rpo", "kto"} <= left_out and {"logistic", "ipo", "hinge"} <= set(LOSSES) - left_out


@pytest.mark.parametrize("name", LABELS)
def test_a_label_is_a_few_possible_numbers_per_pair(name):
    found = made(name)
    numbers = [found.probability, found.weight] + [found.scale] * (found.scale is not None)
    assert len(found) == len(PAIRS) and all(x.shape == (len(PAIRS),) for x in numbers)
    assert all(x.dtype == torch.float64 and x.device.type == "cpu" and not x.requires_grad for x in numbers)
    assert ((found.probability >= 0) & (found.probability <= 1) & (found.weight >= 0)).all()
    assert found.scale is None or found.scale.isfinite().all()


@pytest.mark.parametrize("name, loss", BOTH)
def test_permuting_the_pairs_permutes_their_losses(name, loss):
    batch, order = drawn(5), torch.tensor([3, 0, 4, 1, 2])
    shuffled = expected(loss, taken(batch, order), made(name, [PAIRS[i] for i in order]))
    assert torch.equal(shuffled, expected(loss, batch, made(name))[order])


@pytest.mark.parametrize("name, loss", BOTH)
def test_no_gradient_goes_through_a_label(name, loss):
    batch, given = drawn(5), made(name)
    if given.gate is None:
        fixed = given
    else:
        values = given.gate(batch)
        fixed = dataclasses.replace(given, gate=lambda _: values)
        leaf = batch.chosen.logps.clone().requires_grad_(True)
        assert not given.gate(dataclasses.replace(batch, chosen=CandidateLogps(leaf))).requires_grad
    for found, by_hand in zip(_pull(loss, batch, given), _pull(loss, batch, fixed), strict=True):
        assert torch.equal(found, by_hand)


def test_even_a_label_that_carries_a_gradient_gets_none():
    leaves = [torch.full((2,), x, dtype=torch.float64, requires_grad=True) for x in (0.8, 2.0, 1.5, 0.5)]
    gated = []

    def gate(batch):
        gated.append(batch.chosen.logps.requires_grad)
        return leaves[3]

    logps = torch.zeros(2, dtype=torch.float64, requires_grad=True)
    given = Label(*leaves[:3], gate=gate)
    expected(LOSSES["logistic"].bind(beta=1.0), from_margins(logps), given).sum().backward()
    assert logps.grad is not None and all(leaf.grad is None for leaf in leaves) and gated == [False]


@pytest.mark.parametrize("name, loss", BOTH)
def test_equal_policy_and_reference_cost_the_weighted_loss_at_zero(name, loss):
    given, logps = made(name), torch.tensor([-0.3, -9.0, 0.0, 2.0, -0.1], dtype=torch.float64)
    found = expected(loss, PairLogps(*map(CandidateLogps, (logps, 3 * logps, logps, 3 * logps))), given)
    torch.testing.assert_close(found, given.weight * loss.at_zero, rtol=1e-14, atol=0)


@pytest.mark.parametrize("loss", AGAINST_A_REFERENCE)
def test_swapping_a_pair_and_the_sign_of_its_scale_changes_nothing(loss):
    batch = drawn(5)
    for p in (1.0, 0.7):
        there = expected(loss, batch, label(p, 2.0, scale=SCALES))
        back = expected(loss, batch.swapped(), label(p, 2.0, scale=[-s for s in SCALES]))
        assert torch.equal(there, back)
    assert not torch.equal(there, expected(loss, batch.swapped(), label(p, 2.0, scale=SCALES)))


@pytest.mark.parametrize("loss", AGAINST_A_REFERENCE)
def test_a_pair_without_gradient_costs_the_loss_at_zero_and_has_gradient_zero(loss):
    batch, given = drawn(4, scale=30.0), label([1.0, 0.7, 1.0, 0.7], [2.0, 2.0, 0.0, 1.0], scale=[0.0, 0.0, 3.0, 3.0])
    still = without_gradient(given)
    assert still.tolist() == [True, True, True, False] and still.dtype == torch.bool
    found = expected(loss, batch, given)
    torch.testing.assert_close(found[still], (given.weight * loss.at_zero)[still], rtol=1e-14, atol=0)
    assert all(torch.equal(gradient[still], torch.zeros(3).double()) for gradient in _pull(loss, batch, given))
    assert all((gradient[~still] != 0).all() for gradient in _pull(loss, drawn(4, scale=1e-3), given))


@pytest.mark.parametrize("loss", AGAINST_A_REFERENCE)
@pytest.mark.parametrize("given", [{"scale": 1.0}, {"gate": 1.0}, {"scale": 1.0, "gate": 1.0}])
def test_a_scale_and_a_gate_of_one_change_no_bit(loss, given):
    batch = drawn(7, dtype=torch.float32, scale=0.1)
    for p in (1.0, 0.9):
        plain, other = label(p, 0.5, count=7), label(p, 0.5, count=7, **given)
        assert torch.equal(expected(loss, batch, other), expected(loss, batch, plain))
        assert all(map(torch.equal, _pull(loss, batch, other), _pull(loss, batch, plain)))


def test_the_gate_comes_before_the_scale_and_both_before_the_mixture():
    # R_w = 0.4, R_l = 0.3, g = -1, s = -2: the margin inside is -2 (0.4 + 0.3).
    batch = PairLogps(*(CandidateLogps(torch.tensor([x], dtype=torch.float64)) for x in (0.4, 0.3, 0.0, 0.0)))
    loss, given = LOSSES["logistic"].bind(beta=1.0), label([0.9], 3.0, scale=-2.0, gate=[-1.0])
    by_hand = LOSSES["logistic"].bind(beta=1.0, flip=0.1)(from_margins([-1.4]))
    torch.testing.assert_close(expected(loss, batch, given), 3.0 * by_hand, rtol=1e-14, atol=0)
    seen = []
    given = dataclasses.replace(given, gate=lambda s: seen.append(s.chosen_logratio.item()) or torch.ones(1))
    expected(loss, batch, given)
    assert seen == [0.4]


def test_only_a_label_that_relabels_swaps_pairs_for_metrics():
    batch = drawn(5)
    turned = swapped_by(batch, label(scale=SCALES, relabels=True))
    signs = torch.tensor([1.0, -1.0, 1.0, 1.0, -1.0], dtype=torch.float64)
    assert torch.equal(turned.margin, signs * batch.margin)
    for other in (
        label(scale=SCALES),
        label(count=5, relabels=True),
        label(scale=[0.0, 1.0, 2.0, 3.0, 4.0], relabels=True),
    ):
        assert swapped_by(batch, other) is batch


@pytest.mark.parametrize("name", LABELS)
def test_pairs_without_gradient_of_a_label_have_gradient_zero(name):
    given, loss = made(name), LOSSES["logistic"].bind(beta=1.0)
    chosen, _ = _pull(loss, drawn(5, scale=0.1), given)
    assert torch.equal(without_gradient(given), chosen == 0.0)


@pytest.mark.parametrize("name", ["sft", "mapo", "simpo", "orpo"])
def test_a_loss_without_a_reference_takes_no_scale_and_no_gate(name):
    batch, loss = drawn(2), LOSSES[name].bind()
    bare = PairLogps(batch.chosen, batch.rejected)
    with pytest.raises(ValueError, match=f"'{name}' is no function of beta times one margin; choose one that is"):
        expected(loss, bare, label(scale=[1.0, 2.0]))
    with pytest.raises(ValueError, match="compares with a reference"):
        expected(loss, bare, label(gate=[1.0, 2.0]))


def test_a_loss_in_which_a_likelihood_counts_takes_a_doubt_and_no_scale():
    batch, loss = drawn(2), LOSSES["rpo"].bind(beta=1.0)
    mixed = 0.7 * loss(batch) + 0.3 * loss(batch.swapped())
    torch.testing.assert_close(expected(loss, batch, label([0.7, 0.7])), mixed)
    with pytest.raises(ValueError, match="'rpo' is no function of beta times one margin"):
        expected(loss, batch, label(scale=[1.0, 2.0]))


def test_single_examples_accept_only_certain_labels():
    batch, loss = PairLogps(drawn(2).chosen), LOSSES["sft"].bind()
    assert torch.equal(expected(loss, batch, label(1.0, [1.0, 2.0])), -batch.chosen.logps * torch.tensor([1.0, 2.0]))
    with pytest.raises(ValueError, match="rejected is None"):
        expected(loss, batch, label([0.9, 0.9]))
