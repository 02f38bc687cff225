"""Loops on games with a known equilibrium: where they end, how fast, and that the package's losses go the same way."""

from itertools import islice

import pytest
import torch

from pipelines import nash
from pipelines.table_games.exact_steps import (
    averages,
    constant,
    decreasing,
    exact_step,
    extragradient,
    momentum,
    self_play,
)
from pipelines.table_games.game import (
    BIASED,
    BIASED_EQUILIBRIUM,
    CONDORCET,
    CYCLE,
    SCISSORS,
    game,
    kl,
)
from pipelines.table_games.loops import (
    MULTIPLICATIVE,
    RATE,
    TO_EQUILIBRIUM,
    difference,
    fitted_power,
    fitted_rate,
    play,
)
from pipelines.table_games.loss_steps import dpo_step

EGPO_GAME = game(CYCLE, (0.6, 0.3, 0.1), 0.1)
MP_GAME = game(CYCLE, (0.5, 0.3, 0.2), 0.25)
HARD_GAME = game(SCISSORS, (0.6, 0.3, 0.1), 0.05)
ROWS = {row.name.split(",")[0] + (" decreasing" if row.by_power else ""): row for row in TO_EQUILIBRIUM}


def after(policies, rounds):
    return next(islice(policies, rounds, None))


def shown(policy):
    return [f"{p:.6f}" for p in policy.exp().tolist()]


def distances(row, of, rounds=200):
    equilibrium = of.equilibrium()
    return [kl(equilibrium, policy).item() for policy in play(row, of, rounds)]


@pytest.mark.parametrize(
    "of, printed",
    [
        (EGPO_GAME, ["0.492747", "0.154147", "0.353106"]),
        (HARD_GAME, ["0.377434", "0.276500", "0.346065"]),
        (MP_GAME, ["0.501069", "0.200370", "0.298561"]),
    ],
)
def test_the_equilibrium_is_the_printed_one_and_no_step_leaves_it(of, printed):
    equilibrium = of.equilibrium()
    assert shown(equilibrium) == printed and abs(of.gap(equilibrium)) < 1e-14
    for share in (0.1, 0.7):
        stayed = exact_step(of, equilibrium, equilibrium, share, share / of.beta)
        torch.testing.assert_close(stayed, equilibrium, rtol=0, atol=1e-14)


def test_a_game_without_a_reference_has_no_gap_at_its_equilibrium_alone():
    of = game(BIASED, (0.5, 0.3, 0.2))
    equilibrium = torch.tensor(BIASED_EQUILIBRIUM, dtype=torch.float64).log()
    assert abs(of.gap(equilibrium)) < 1e-15 and of.gap(of.reference) > 0.05


def test_odds_that_do_not_add_up_to_one_are_refused():
    with pytest.raises(ValueError, match="one of the two answers wins"):
        game(((0.5, 0.7), (0.4, 0.5)), (0.5, 0.5))


def test_egpo_has_the_printed_policies_and_gaps_of_its_game():
    half_steps, plain = (loop(exact_step, EGPO_GAME, constant(0.1)) for loop in (extragradient, self_play))
    half_steps, plain = list(islice(half_steps, 101)), list(islice(plain, 101))
    assert shown(half_steps[1]) == ["0.645018", "0.240943", "0.114038"]
    assert shown(plain[1]) == ["0.650586", "0.240983", "0.108431"]
    assert EGPO_GAME.gap(half_steps[100]) == pytest.approx(6.75e-12, rel=1e-2)
    assert EGPO_GAME.gap(plain[100]) == pytest.approx(3.53e-9, rel=1e-2)


def test_a_half_step_converges_where_mirror_descent_goes_round_in_circles():
    assert HARD_GAME.gap(after(extragradient(exact_step, HARD_GAME, constant(0.1)), 100)) < 1e-8
    assert HARD_GAME.gap(after(self_play(exact_step, HARD_GAME, constant(0.1)), 2000)) > 0.3
    mean = list(islice(averages(self_play(exact_step, HARD_GAME, constant(0.1))), 401))
    assert HARD_GAME.gap(mean[400]) < 0.2 * HARD_GAME.gap(mean[10]) < 0.02


def test_with_decreasing_steps_the_last_policy_of_inpo_converges_there_too():
    found = [HARD_GAME.gap(after(self_play(exact_step, HARD_GAME, decreasing), k)) for k in (100, 1000)]
    assert found[1] < 1e-4 < 0.1 < found[0]
    assert fitted_power(distances(ROWS["INPO decreasing"], HARD_GAME, 400)) > 1.0


@pytest.mark.parametrize("of", [EGPO_GAME, MP_GAME, HARD_GAME])
@pytest.mark.parametrize("name", ["EGPO", "Nash-MP"])
def test_the_last_policy_converges_linearly_at_least_at_the_rate_of_theory(name, of):
    row = ROWS[name]
    assert 0.3 < fitted_rate(distances(row, of)) < row.bound(of)


def test_nash_mp_has_the_printed_policies_and_distances():
    share = 0.5 / 1.5
    policies = list(islice(extragradient(exact_step, MP_GAME, constant(share)), 4))
    halves = [exact_step(MP_GAME, policy, policy, share, share / MP_GAME.beta) for policy in policies]
    assert [shown(halves[0]), shown(policies[1])] == [
        ["0.537762", "0.247133", "0.215105"],
        ["0.526837", "0.247037", "0.226126"],
    ]
    assert [shown(halves[1]), shown(policies[2])] == [
        ["0.539476", "0.217802", "0.242722"],
        ["0.531754", "0.219488", "0.248758"],
    ]
    found = [f"{kl(MP_GAME.equilibrium(), policy).item():.6e}" for policy in policies]
    assert found == ["3.981824e-02", "1.588576e-02", "6.443429e-03", "2.617451e-03"]


def test_the_preset_of_nash_mp_is_this_step():
    from diffalign.methods import METHODS

    loss = METHODS["nash_mp"].defaults["loss"]
    eta, beta = 0.2, 0.1
    share = eta / (1 + eta)
    assert loss["tau_over_eta"] == pytest.approx(share) and 1 / loss["beta"] == pytest.approx(share / beta)


def test_multiplicative_weights_come_to_the_winner_and_else_only_their_mean_to_the_equilibrium():
    winner, cycle = game(CONDORCET, (0.2, 0.3, 0.5)), game(BIASED, (0.5, 0.3, 0.2))
    assert winner.gap(after(self_play(exact_step, winner, constant(0.0), RATE), 200)) < 1e-8
    policies = list(islice(self_play(exact_step, cycle, constant(0.0), RATE), 401))
    means = list(islice(averages(iter(policies)), 401))
    assert cycle.gap(policies[400]) > 0.05
    assert cycle.gap(means[400]) < 0.015 < cycle.gap(means[100])


@pytest.mark.parametrize("row", [*TO_EQUILIBRIUM, *MULTIPLICATIVE], ids=lambda row: row.name)
def test_the_losses_of_the_package_go_where_the_formulas_go(row):
    of = MP_GAME if row in TO_EQUILIBRIUM else game(BIASED, (0.5, 0.3, 0.2))
    assert difference(row, of, 4) < 1e-12


def test_momentum_has_the_printed_policies_with_the_logistic_loss_as_the_round():
    of = nash.reward_game()
    fast, plain = (after(momentum(dpo_step, of, 1.0, amount), 3) for amount in (0.3, 0.0))
    assert shown(fast) == ["0.024645", "0.898511", "0.076844"]
    assert shown(plain) == ["0.067367", "0.811865", "0.120768"]
    assert [f"{nash.lost_reward(policy):.6f}" for policy in (fast, plain)] == ["0.063067", "0.127751"]
    torch.testing.assert_close(plain, after(self_play(dpo_step, of, constant(0.0), 1.0), 3), rtol=0, atol=1e-14)


def test_online_dpo_ends_elsewhere_where_preferences_are_no_reward():
    of = game(BIASED, (0.5, 0.3, 0.2))
    assert of.gap(after(self_play(dpo_step, of, constant(1.0), RATE), 10)) > 0.05


def test_the_program_prints_its_tables_and_draws(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(nash, "REGULARISED", {"small": MP_GAME})
    monkeypatch.setattr(nash, "PLAIN", {})
    nash.main(["--figure", str(tmp_path / "nash.png")])
    printed = capsys.readouterr().out
    assert "equilibrium (0.501069, 0.200370, 0.298561)" in printed
    line = next(line for line in printed.splitlines() if "Nash-MP" in line)
    assert "3.981824e-02" not in line and "0.400 [0.667]" in line and "1.59e-02" in line
    assert (tmp_path / "nash.png").stat().st_size > 1000
    with pytest.raises(SystemExit):
        nash.main(["--figure", str(tmp_path / "nash.txt")])
