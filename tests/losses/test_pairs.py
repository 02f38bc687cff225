"""What losses on pairs are said to do: goals, limits, where they are one another."""

import math
from itertools import permutations

import pytest
import torch

from diffalign.losses import LOSSES
from diffalign.losses.pairs.orpo import log_odds
from tests.losses.logps import drawn, from_logps, from_margins, taken
from tests.losses.test_golden_pairs import slopes


def along(chosen, rejected):
    """Pairs whose logratios are these; the policy carries them."""
    zeros = [0.0] * len(chosen)
    return from_logps(chosen, rejected, zeros, zeros)


def test_the_push_of_flex_dpo_is_a_fixed_share_of_its_pull():
    chosen, rejected = slopes(LOSSES["flex_dpo"].bind(beta=0.5, beta_rejected=0.3), drawn(7))
    assert [-r / c for c, r in zip(chosen, rejected, strict=True)] == pytest.approx([0.6] * 7, rel=1e-12)


def test_nothing_is_learnt_from_a_rejected_candidate_that_does_not_count():
    for loss in (LOSSES["flex_dpo"].bind(beta=0.5, beta_rejected=0.0), LOSSES["cpl"].bind(beta=0.5, lam=0.0)):
        assert slopes(loss, drawn(4))[1] == [0.0] * 4


@pytest.mark.parametrize("lam", [0.25, 0.5, 1.0])
def test_the_push_of_cpl_is_its_bias_times_the_pull(lam):
    chosen, rejected = slopes(LOSSES["cpl"].bind(beta=0.5, lam=lam), drawn(7))
    assert [-r / c for c, r in zip(chosen, rejected, strict=True)] == pytest.approx([lam] * 7, rel=1e-12)


def test_a_wrongly_ranked_pair_costs_at_least_the_reference_gap_until_its_order_is_corrected():
    # The reference is wrong by c: dpo at beta c where the policy ranks the two alike.
    for c in (5.5, 50.0):
        tie = from_logps([-10.0], [-10.0], [-10.0 - c], [-10.0])
        assert LOSSES["logistic"].bind(beta=0.1)(tie).item() == pytest.approx(math.log1p(math.exp(-0.1 * c)), rel=1e-12)
        assert LOSSES["dpo_gamma"].bind(beta=0.1, gamma=0.0)(tie).item() == pytest.approx(math.log(2.0), rel=1e-12)


def test_both_forms_of_asft_agree():
    a_w, a_l = (
        torch.linspace(-5.0, -0.01, 30, dtype=torch.float64),
        torch.linspace(-0.02, -7.0, 30, dtype=torch.float64),
    )
    batch = from_logps(a_w, a_l, a_w, a_l)
    plain = -1.5 * a_w - 0.5 * torch.log(-torch.expm1(a_l))
    torch.testing.assert_close(LOSSES["asft"].bind(lam=0.5)(batch), plain, rtol=1e-13, atol=0)


def test_asft_pulls_constantly_and_lets_its_push_die_out():
    chosen, rejected = slopes(LOSSES["asft"].bind(lam=0.5), along([-0.1, -1.0, -30.0], [-0.1, -1.0, -30.0]))
    assert chosen == pytest.approx([-1.5] * 3, rel=1e-12)
    assert rejected == pytest.approx([0.5 / math.expm1(x) for x in (0.1, 1.0, 30.0)], rel=1e-9)


def test_asft_is_not_antisymmetric():
    loss, batch = LOSSES["asft"].bind(), along([-1.5], [-1.25])
    assert abs(loss(batch).item() - loss(batch.swapped()).item()) > 0.1


def test_orpo_is_never_above_asft_and_by_the_known_difference():
    a_w, a_l = -drawn(20).chosen.logps.abs() - 0.01, -drawn(20, seed=3).chosen.logps.abs() - 0.01
    batch, lam = from_logps(a_w, a_l, a_w, a_l), 0.7
    p_w, p_l = a_w.exp(), a_l.exp()
    less = LOSSES["orpo"].bind(weight=lam)(batch) - LOSSES["asft"].bind(lam=lam)(batch)
    assert (less < 0).all()
    torch.testing.assert_close(less, lam * torch.log(p_w * (1 - p_l) + p_l * (1 - p_w)), rtol=1e-9, atol=1e-12)
    assert (log_odds(a_w) < 20).all()


def test_exo_is_a_divergence_that_rises_again_behind_its_goal():
    loss = LOSSES["exo"].bind(beta=2.0, flip=0.05)
    goal = loss.loss.optimum(loss.hyper)
    assert goal == pytest.approx(math.log(19.0) / 2.0)
    near = loss(from_margins([goal - 0.5, goal, goal + 0.5]))
    assert near[1] < 1e-15 < near.min(0).values + 1.0 and near[0] > 1e-3 and near[2] > 1e-3


def test_exo_gives_up_pairs_that_are_lost_by_far_where_dpo_does_not():
    margins = torch.tensor([-20.0, -2.0, 0.0], dtype=torch.float64)
    far, some, start = LOSSES["exo"].bind(beta=1.0).slope(margins).abs().tolist()
    assert far < 1e-6 < 0.1 < some < start
    assert LOSSES["logistic"].bind(beta=1.0).slope(margins)[0].item() == pytest.approx(-1.0, abs=1e-6)


def test_discopop_climbs_a_small_hill_at_zero_unless_its_border_is_wide():
    narrow, wide = LOSSES["discopop"].bind(beta=1.0), LOSSES["discopop"].bind(beta=1.0, temperature=0.12)
    assert narrow.slope(torch.zeros(1))[0] > 0.7
    assert (wide.slope(torch.linspace(-5.0, 5.0, 2001, dtype=torch.float64)) < 0).all()


def test_discopop_is_logistic_far_below_zero_and_exponential_far_above():
    low, high = LOSSES["discopop"].bind(beta=1.0)(from_margins([-4.0, 4.0])).tolist()
    assert low == pytest.approx(math.log1p(math.exp(4.0)), rel=1e-12)
    assert high == pytest.approx(math.exp(-4.0), rel=1e-12)


def test_the_anchors_hold_both_candidates():
    zero, down = LOSSES["apo_zero"].bind(beta=2.0), LOSSES["apo_down"].bind(beta=2.0)
    assert slopes(zero, along([0.0], [0.0])) == [[-0.5], [0.5]]
    assert slopes(down, along([0.0], [0.0])) == [[0.0], [0.5]]
    # Zero: up and down, wherever they are. Down: once the pair is won both go down, the rejected one no more than that.
    (up,), (low,) = slopes(zero, along([0.7], [-1.3]))
    assert up < 0 < low
    (chosen,), (rejected,) = slopes(down, along([0.1], [-2.0]))
    assert chosen > 0 and rejected > 0
    far = slopes(zero, along([50.0], [-50.0]))
    assert abs(far[0][0]) < 1e-12 and abs(far[1][0]) < 1e-12


def test_apo_zero_is_kto_on_both_candidates_with_its_point_at_zero():
    batch = drawn(5)
    z = torch.zeros((), dtype=torch.float64)
    single = lambda one, reference, good: LOSSES["kto"].bind(beta=0.7)(
        type(batch)(one, None, reference, desirable=torch.full((5,), good), baseline=z)
    )
    both = single(batch.chosen, batch.reference_chosen, True) + single(batch.rejected, batch.reference_rejected, False)
    torch.testing.assert_close(LOSSES["apo_zero"].bind(beta=0.7)(batch), both, rtol=1e-14, atol=0)


def test_nca_leads_the_chosen_candidate_to_a_place():
    loss, goal = LOSSES["nca"].bind(beta=0.5), math.log(2.0) / 0.5
    (before, at, behind), rejected = slopes(loss, along([goal - 1, goal, goal + 1], [0.0, -5.0, 5.0]))
    assert before < 0 < behind and abs(at) < 1e-15
    assert all(x > 0 for x in rejected)


def test_a_pair_judged_apart_is_never_cheaper_than_the_pair_by_the_known_gap():
    batch = drawn(50, scale=3.0)
    apart, pair = LOSSES["bco_pair"].bind(beta=0.8)(batch), LOSSES["logistic"].bind(beta=0.8)(batch)
    x, y = 0.8 * batch.chosen_logratio, -0.8 * batch.rejected_logratio
    gap = torch.log1p((torch.exp(-x) + torch.exp(-y)) / (1 + torch.exp(-x - y)))
    assert (apart > pair).all()
    torch.testing.assert_close(apart - pair, gap, rtol=1e-9, atol=1e-12)


def test_sppo_has_a_goal_for_each_candidate():
    loss = LOSSES["sppo_hard"].bind(beta=0.1)
    assert slopes(loss, along([5.0], [-5.0])) == [[0.0], [0.0]]
    (up,), (down,) = slopes(loss, along([6.0], [-6.0]))
    assert up > 0 > down
    relative = LOSSES["sppo_hard"].bind(beta=0.1, relative=True)
    torch.testing.assert_close(relative(drawn(4)), 0.01 * loss(drawn(4)), rtol=1e-12, atol=0)


@pytest.mark.parametrize("flip", [0.0, 0.2])
def test_no_matching_of_gaps_costs_less_than_the_one_by_rank(flip):
    batch = drawn(5, scale=2.0)
    by_rank = LOSSES["aot"].bind(beta=0.7, flip=flip)(batch).mean()
    pairwise = LOSSES["logistic"].bind(beta=0.7, flip=flip)
    gaps = batch.chosen.logps - batch.rejected.logps
    reference = batch.reference_chosen.logps - batch.reference_rejected.logps
    others = [pairwise(from_margins(gaps - reference[list(p)])).mean() for p in permutations(range(5))]
    assert by_rank <= min(others) + 1e-15 and max(others) > by_rank + 0.01


def test_without_pairs_the_rejected_candidates_may_change_places():
    batch, order = drawn(6), torch.tensor([4, 0, 5, 2, 1, 3])
    mixed = type(batch)(
        batch.chosen, taken(batch, order).rejected, batch.reference_chosen, taken(batch, order).reference_rejected
    )
    unpaired, paired = LOSSES["aot_unpaired"].bind(beta=0.5), LOSSES["aot"].bind(beta=0.5)
    torch.testing.assert_close(unpaired(mixed), unpaired(batch), rtol=1e-14, atol=0)
    assert (paired(mixed).mean() - paired(batch).mean()).abs() > 1e-3


def test_the_hinge_pulls_no_more_once_it_is_won():
    won = LOSSES["hinge"].bind(beta=0.05).slope(torch.tensor([19.9, 20.1], dtype=torch.float64))
    assert won.tolist() == pytest.approx([-0.05, 0.0])


def test_a_flip_of_one_half_or_more_is_refused():
    for name in ("robust", "aot", "exo"):
        with pytest.raises(ValueError, match="flip.*must lie in"):
            LOSSES[name].bind(beta=1.0, flip=0.5)
    with pytest.raises(ValueError, match="flip.*It cannot be 0"):
        LOSSES["exo"].bind(beta=1.0, flip=0.0)
