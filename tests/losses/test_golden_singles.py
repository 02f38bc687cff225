"""Numbers of the losses on single examples that were worked out by hand, to every printed digit."""

import math

import pytest
import torch

from diffalign.losses import LOSSES, CandidateLogps, PairLogps


def judged(logratios, desirable=True, baseline=0.0, tokens=None):
    """Single examples by their logratios, against a reference of 0."""
    chosen = torch.tensor(logratios, dtype=torch.float64)
    good = torch.tensor(desirable).expand(len(logratios))
    lengths = None if tokens is None else torch.tensor(tokens)
    reference = CandidateLogps(torch.zeros_like(chosen))
    return PairLogps(
        CandidateLogps(chosen, lengths=lengths),
        None,
        reference,
        desirable=good,
        baseline=torch.tensor(baseline, dtype=torch.float64),
    )


# A pair as two rows: logratios 1 and -0.5 at beta 0.1, so rewards 0.1 and -0.05; the shift in logratios.
@pytest.mark.parametrize(
    "shift, up, down, both",
    [
        (0.0, "0.644397", "0.668460", "1.312856"),
        (0.2, "0.653947", "0.658760", "1.312707"),
        (0.25, "0.656350", "0.656350", "1.312700"),
    ],
)
def test_a_thumb_up_and_one_down_at_a_shift(shift, up, down, both):
    losses = LOSSES["bco"].bind(beta=0.1)(judged([1.0, -0.5], [True, False], shift))
    assert [f"{x:.6f}" for x in losses.tolist()] == [up, down]
    assert f"{losses.sum().item():.6f}" == both


@pytest.mark.parametrize(
    "logratio, printed, slope",
    [
        (0.0, "13.862944", "1.000000"),
        (1.0, "14.887933", "1.049958"),
        (-0.5, "13.369193", "0.975005"),
        (-20.0, "2.538560", "0.238406"),
    ],
)
def test_what_is_to_be_forgotten_and_how_hard_it_pulls(logratio, printed, slope):
    batch = judged([logratio], False)
    leaf = batch.chosen.logps.requires_grad_(True)
    found = LOSSES["npo"].bind(beta=0.1)(batch)
    (pull,) = torch.autograd.grad(found.sum(), leaf)
    assert (f"{found.item():.6f}", f"{pull.item():.6f}") == (printed, slope)


@pytest.mark.parametrize("beta, printed", [(0.1, "1.024990"), (0.01, "1.002500"), (0.001, "1.000250")])
def test_a_small_beta_forgets_as_gradient_ascent_does(beta, printed):
    found = LOSSES["npo"].bind(beta=beta)(judged([1.0], False)).item() - 2 / beta * math.log(2)
    assert f"{found:.6f}" == printed


def test_forgetting_slows_down_where_gradient_ascent_goes_on():
    # The logratio itself as the only parameter, steps of 0.1.
    loss, found = LOSSES["npo"].bind(beta=0.1), []
    ratio = torch.zeros(1, dtype=torch.float64)
    for step in range(2000):
        leaf = ratio.clone().requires_grad_(True)
        batch = PairLogps(CandidateLogps(leaf), None, CandidateLogps(torch.zeros(1)), desirable=torch.tensor([False]))
        ratio = ratio - 0.1 * torch.autograd.grad(loss(batch).sum(), leaf)[0]
        if step + 1 in (100, 2000):
            found.append(f"{ratio.item():.6f}")
    assert found == ["-7.935368", "-36.218764"]


@pytest.mark.parametrize(
    "phi, printed, weight",
    [
        ("identity", "-0.100000", "1.000000"),
        ("pearson", "-0.097500", "0.950000"),
        ("hellinger", "-0.090909", "0.826446"),
        ("forward_kl", "-0.095163", "0.904837"),
        ("js", "-0.090903", "0.826213"),
    ],
)
def test_a_demonstration_by_each_divergence(phi, printed, weight):
    batch = judged([1.0])
    leaf = batch.chosen.logps.requires_grad_(True)
    found = LOSSES["f_sft"].bind(beta=0.1, phi=phi)(batch)
    (pull,) = torch.autograd.grad(found.sum(), leaf)
    assert (f"{found.item():.6f}", f"{-pull.item() / 0.1:.6f}") == (printed, weight)


def test_to_forget_and_to_retain_have_a_mean_of_their_own_in_any_mixture():
    # The authors' objective: the mean over what is forgotten plus the mean over what is retained.
    batch = judged(
        [1.0, -0.5, -3.0, -2.0, -1.0, -6.0], [False, False, True, True, True, True], tokens=[1, 1, 2, 1, 1, 3]
    )
    found = LOSSES["npo"].bind(beta=0.1, retain=0.5, separate_means=True)(batch)
    forget, keep = (14.887933 + 13.369193) / 2, (1.5 + 2.0 + 1.0 + 2.0) / 4
    assert found.mean().item() == pytest.approx(forget + 0.5 * keep, abs=1e-6)
    # Half of each kind: the plain mean is half of it.
    even = judged([1.0, -3.0], [False, True])
    one, both = (LOSSES["npo"].bind(beta=0.1, separate_means=m)(even).mean().item() for m in (False, True))
    assert both == pytest.approx(2 * one, rel=1e-12)


def test_a_batch_of_one_kind_has_its_plain_mean():
    for kind in (True, False):
        batch = judged([1.0, -0.5], kind)
        one, both = (LOSSES["npo"].bind(beta=0.1, separate_means=m)(batch).tolist() for m in (False, True))
        assert one == both
