"""LD-DPO: tokens that the longer answer of a pair has more count in part."""

from dataclasses import replace

import pytest
import torch

from diffalign.losses import LOSSES, CandidateLogps, PairLogps, settings_of
from tests.losses.logps import with_tokens

CHOSEN, CHOSEN_REFERENCE = (-0.5, -1.0, -0.2, -0.8), (-0.6, -1.1, -0.5, -1.0)
REJECTED, REJECTED_REFERENCE = (-0.9, -0.4), (-0.7, -0.5)


def of_tokens(*answers, padding=0):
    """Scores of one pair, token by token: chosen, rejected, and both under the reference."""
    width = max(map(len, answers)) + padding

    def batch(tokens):
        row = torch.tensor([[*tokens, *[0.0] * (width - len(tokens))]], dtype=torch.float64)
        return CandidateLogps(row.sum(1), row, torch.tensor([len(tokens)]))

    return PairLogps(*map(batch, answers))


def pair(**kwargs):
    return of_tokens(CHOSEN, REJECTED, CHOSEN_REFERENCE, REJECTED_REFERENCE, **kwargs)


def logistic(alpha, **hyper):
    return LOSSES["logistic"].bind(beta=0.1, ld_alpha=alpha, **hyper)


@pytest.mark.parametrize(
    "alpha, margin, loss", [(1.0, 0.80, "0.653947"), (0.5, 0.55, "0.666025"), (0.0, 0.30, "0.678260")]
)
def test_the_known_answers_of_four_and_two_tokens(alpha, margin, loss):
    assert logistic(alpha).margin(pair()).item() == pytest.approx(margin, rel=1e-12)
    assert f"{logistic(alpha)(pair()).item():.6f}" == loss


def test_equally_long_answers_do_not_notice():
    batch = of_tokens(CHOSEN, (*REJECTED, -0.1, -3.0), CHOSEN_REFERENCE, (*REJECTED_REFERENCE, -0.2, -2.0))
    assert logistic(0.0)(batch).item() == pytest.approx(logistic(1.0)(batch).item(), rel=1e-15)


def test_the_margin_is_a_line_in_alpha():
    batch = with_tokens()
    low, middle, high = (logistic(a).margin(batch) for a in (0.0, 0.25, 1.0))
    torch.testing.assert_close(middle, 0.75 * low + 0.25 * high, rtol=1e-13, atol=1e-15)
    assert (high - low).abs().max() > 0.1


def test_a_token_behind_the_common_length_pulls_by_alpha():
    batch = pair()
    leaf = batch.chosen.parts.clone().requires_grad_(True)
    chosen = replace(batch.chosen, parts=leaf, logps=leaf.sum(1))
    (slope,) = torch.autograd.grad(logistic(0.3)(replace(batch, chosen=chosen)).sum(), leaf)
    common, also, behind, last = slope[0].tolist()
    assert common == also < 0 and behind == last == pytest.approx(0.3 * common, rel=1e-12)


def test_swapping_the_pair_negates_the_margin():
    batch = with_tokens()
    torch.testing.assert_close(logistic(0.3).margin(batch.swapped()), -logistic(0.3).margin(batch))


def test_padding_does_not_matter():
    assert logistic(0.3)(pair(padding=5)).item() == logistic(0.3)(pair()).item()


def test_whichever_answer_is_the_longer_one_is_shortened():
    turned = of_tokens(REJECTED, CHOSEN, REJECTED_REFERENCE, CHOSEN_REFERENCE)
    assert logistic(0.0).margin(turned).item() == pytest.approx(-0.30, rel=1e-12)


@pytest.mark.parametrize(
    "name, hyper", [("hinge", {}), ("robust", {"flip": 0.1}), ("nca", {}), ("aot", {}), ("exo", {})]
)
def test_other_losses_read_the_same_desensitised_logps(name, hyper):
    batch = with_tokens()
    short = LOSSES[name].bind(beta=0.1, ld_alpha=0.4, **hyper)(batch)
    by_hand = LOSSES[name].bind(beta=0.1, **hyper)(batch.length_desensitised(0.4))
    assert torch.equal(short, by_hand) and not torch.equal(short, LOSSES[name].bind(beta=0.1, **hyper)(batch))


def test_logps_that_are_sums_are_refused():
    bare = PairLogps(*(CandidateLogps(torch.zeros(2), lengths=torch.tensor([1, 2])) for _ in range(4)))
    with pytest.raises(ValueError, match="ld_alpha needs each token's log-probability"):
        logistic(0.5)(bare)
    with pytest.raises(ValueError, match=r"ld_alpha.*must lie in \[0, 1\]"):
        logistic(1.5)


def test_the_likelihood_term_of_rpo_counts_every_token_of_the_chosen_answer():
    # -log p / n of the chosen answer is 0.625; of a margin without its two last tokens it was (0.5 + 1.0) / 4.
    full, none = (LOSSES["rpo"].bind(beta=0.1, eta=0.0, average=1.0, ld_alpha=a)(pair()).item() for a in (1.0, 0.0))
    assert none - logistic(0.0)(pair()).item() == pytest.approx(0.625, rel=1e-12)
    assert full - logistic(1.0)(pair()).item() == pytest.approx(0.625, rel=1e-12)
    summed = LOSSES["rpo"].bind(beta=0.1, eta=1.0, ld_alpha=0.0)(pair()).item()
    assert summed - logistic(0.0)(pair()).item() == pytest.approx(0.1 * 2.5, rel=1e-12)


@pytest.mark.parametrize("alpha", [0.0, 0.5])
def test_under_rpo_the_tail_of_the_chosen_answer_is_learnt_as_much_as_its_beginning(alpha):
    batch = pair()
    leaf = batch.chosen.parts.clone().requires_grad_(True)
    moved = replace(batch, chosen=replace(batch.chosen, parts=leaf, logps=leaf.sum(1)))
    loss = LOSSES["rpo"].bind(beta=0.1, eta=0.0, average=1.0, ld_alpha=alpha)
    (slope,) = torch.autograd.grad((loss(moved) - logistic(alpha)(moved)).sum(), leaf)
    assert slope[0].tolist() == pytest.approx([-0.25] * 4, rel=1e-12)


def test_rpo_alone_adds_a_likelihood_to_a_contrast_that_ld_alpha_weighs():
    # A structure's probabilities are a contrast as a whole. A new row here needs a test like those above.
    rows = [row for row in LOSSES.values() if row.uses_absolute_logps and "ld_alpha" in settings_of(row)]
    assert {row.name for row in rows} == {"rpo", "structure_reference"}


def test_the_whole_answer_follows_a_scale_a_mean_and_a_swap():
    batch = with_tokens()
    short = batch.length_desensitised(0.5)
    assert torch.equal(short.chosen.in_full.logps, batch.chosen.logps)
    factor = torch.full_like(batch.chosen.logps, 3.0)
    for change in (lambda b: b.per_token(), lambda b: b.scaled(factor), lambda b: b.swapped(), lambda b: b.detach()):
        torch.testing.assert_close(change(short).chosen.in_full.logps, change(batch).chosen.logps)
    assert batch.chosen.in_full is batch.chosen


def test_ld_alpha_weighs_the_divergence_of_a_token_as_it_weighs_its_logratio():
    def side(tokens, divergence=None):
        row = torch.tensor([tokens], dtype=torch.float64)
        apart = None if divergence is None else torch.tensor([divergence], dtype=torch.float64)
        return CandidateLogps(row.sum(1), row, torch.tensor([len(tokens)]), divergence=apart)

    batch = PairLogps(
        side(CHOSEN, (0.02, 0.10, 0.04, 0.06)),
        side(REJECTED, (0.03, 0.05)),
        side(CHOSEN_REFERENCE),
        side(REJECTED_REFERENCE),
    )
    # Margin 0.55 as above; the chosen answer's divergence is 0.12 + 0.5 * 0.10, the rejected one's 0.08.
    gain = 0.55 - (0.08 - 0.17)
    expected = -torch.nn.functional.logsigmoid(torch.tensor(0.1 * gain, dtype=torch.float64)).item()
    found = LOSSES["sparse_po"].bind(beta=0.1, ld_alpha=0.5)(batch).item()
    assert found == pytest.approx(expected, rel=1e-12)
