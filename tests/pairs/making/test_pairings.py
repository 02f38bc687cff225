"""Pairings of judged answers, with numbers worked out by hand."""

import math

import numpy as np
import pytest

from diffalign.errors import UserError
from diffalign.pairs.making.judged_answers import JudgedAnswers
from diffalign.pairs.making.pairings import PAIRINGS, PairingSettings, check_pairing
from diffalign.pairs.making.rejection_sampling import acceptance, rejection_sample
from diffalign.pairs.making.tournament import play_tournament

SCORES = [0.3, 1.0, -0.5, 0.3, 0.9]


def pairs(name, judged=None, seed=0, **settings):
    judged = judged or JudgedAnswers.by_scores(SCORES)
    return PAIRINGS[name](judged, PairingSettings(**settings), np.random.default_rng(seed))


def test_best_worst_is_one_pair_and_of_equal_answers_the_first_counts():
    assert pairs("best_worst") == [(1, 2)] and pairs("best_worst", gap=1.5) == []
    assert pairs("best_worst", JudgedAnswers.by_scores([1.0, 0.0, 1.0, 0.0])) == [(0, 1)]
    assert pairs("best_worst", JudgedAnswers.by_scores([1.0, 1.0])) == []


def test_all_is_every_two_answers_that_differ_by_more_than_the_gap():
    assert pairs("all") == [(1, 4), (1, 0), (1, 3), (1, 2), (4, 0), (4, 3), (4, 2), (0, 2), (3, 2)]
    assert pairs("all", gap=0.65) == [(1, 0), (1, 3), (1, 2), (4, 2), (0, 2), (3, 2)]


def test_threshold_pairs_what_reaches_it_with_what_does_not():
    assert pairs("threshold", threshold=0.9) == [(1, 0), (1, 3), (1, 2), (4, 0), (4, 3), (4, 2)]
    assert pairs("threshold", threshold=0.9, gap=0.65) == [(1, 0), (1, 3), (1, 2), (4, 2)]
    assert pairs("threshold", threshold=2.0) == []


def test_a_list_is_no_pair():
    assert pairs("list") == []


def test_acceptance_probabilities_are_the_published_ones():
    # Liu et al. 2023, exp((r - r_max) / beta) of rewards 1, 0.5 and 0
    assert acceptance([1, 0.5, 0], 0.5) == pytest.approx([1, 0.367879, 0.135335], abs=1e-6)
    assert acceptance([1, 0.5, 0], 0.05) == pytest.approx([1, 4.54e-5, 0], abs=1e-7)
    assert acceptance([1, 0.5, 0], 5) == pytest.approx([1, 0.904837, 0.818731], abs=1e-6)


def test_accepted_answers_are_those_of_the_tilted_policy():
    # answers a, b, c of the policy (0.2, 0.3, 0.5) with rewards 1, 0.5, 0 at beta 0.5: a first pass accepts 0.378031 of
    # them, and those accepted are distributed as pi exp(r / beta): (0.529056, 0.291944, 0.179000)
    random = np.random.default_rng(0)
    drawn = random.choice(3, size=40_000, p=[0.2, 0.3, 0.5])
    rewards = np.array([1.0, 0.5, 0.0])[drawn]
    first_pass = random.random(len(drawn)) < np.array(acceptance(rewards.tolist(), 0.5))
    assert first_pass.mean() == pytest.approx(0.378031, abs=0.01)
    kept = rejection_sample(rewards.tolist(), 12_000, 0.5, np.random.default_rng(1))
    shares = np.bincount(drawn[kept], minlength=3) / len(kept)
    assert shares == pytest.approx([0.529056, 0.291944, 0.179], abs=0.015)


def test_rejection_sampling_has_its_limits_and_ends():
    random = np.random.default_rng(0)
    assert rejection_sample(SCORES, 3, 0, random) == [1, 4, 0]
    assert rejection_sample(SCORES, 3, 1e-6, random) == [1, 4, 0]
    assert rejection_sample(SCORES, 3, 1e9, random) == [0, 1, 2]
    assert sorted(rejection_sample(SCORES, 9, 0.01, random)) == [0, 1, 2, 3, 4]
    with pytest.raises(UserError, match="keeps 1 answer or more"):
        rejection_sample(SCORES, 0, 0.5, random)


def test_rejection_makes_disjoint_pairs_of_distinct_answers_the_better_chosen():
    judged = JudgedAnswers.by_scores([0.1, 0.5, 0.1, 0.9, 0.3, 0.5], groups=[0, 1, 0, 3, 4, 1])
    for seed in range(20):
        made = pairs("rejection", judged, seed=seed, keep=4, beta=0.5)
        used = [index for pair in made for index in pair]
        assert len(made) == 2 and len(set(used)) == 4 and not {2, 5} & set(used)
        assert all(judged.scores[i] > judged.scores[j] for i, j in made)
    assert pairs("rejection", judged, keep=2, beta=0) in ([(3, 1)],)
    assert pairs("rejection", judged, seed=3, keep=4) == pairs("rejection", judged, seed=3, keep=4)


def test_rejection_by_comparisons_takes_the_logit_against_the_first_answer_as_its_reward():
    # against the first answer: logits 0, log 9, -log 9; the two largest are kept at beta 0
    wins = np.array([[0.5, 0.1, 0.9], [0.9, 0.5, 0.2], [0.1, 0.8, 0.5]])
    assert pairs("rejection", JudgedAnswers.by_comparisons(wins), keep=2, beta=0) == [(1, 0)]


@pytest.mark.parametrize("count", [2, 3, 5, 8])
def test_a_tournament_has_n_minus_one_matches_and_the_best_wins_the_last(count):
    scores = list(range(count))
    judged = JudgedAnswers.by_scores(scores)
    for seed in range(5):
        made = pairs("tournament", judged, seed=seed)
        assert len(made) == count - 1 and made[-1][0] == count - 1
        losers = [loser for _, loser in made]
        assert sorted(losers) == scores[:-1], "each but the best loses once"
        assert all(i > j for i, j in made)


def test_a_tournament_plays_a_round_at_a_time_and_an_odd_one_advances():
    rounds = []

    def play(matches):
        rounds.append(list(matches))
        return [1.0] * len(matches)

    results = play_tournament(5, play, np.random.default_rng(0))
    assert [len(matches) for matches in rounds] == [2, 1, 1] and len(results) == 4
    met = {index for matches in rounds[:2] for match in matches for index in match}
    assert len(met) == 4 and set(rounds[2][0]) - met, "the last of five meets the winner of the others"


def test_ties_of_a_tournament_are_no_pairs():
    assert pairs("tournament", JudgedAnswers.by_scores([1.0, 1.0, 1.0])) == []
    wins = np.array([[0.5, 0.6], [0.4, 0.5]])
    assert pairs("tournament", JudgedAnswers.by_comparisons(wins)) == [(0, 1)]
    assert pairs("tournament", JudgedAnswers.by_comparisons(wins), gap=0.25) == []


def test_win_rates_and_advantages_of_scores():
    judged = JudgedAnswers.by_scores([2.0, 0.0], scale=0.5)
    win = 1 / (1 + math.exp(-1.0))
    assert judged.win_rates == pytest.approx(((0.5 + win) / 2, (1.5 - win) / 2))
    assert judged.advantages == (0.5, -0.5) and sum(JudgedAnswers.by_scores(SCORES).advantages) == pytest.approx(0)
    by_matrix = JudgedAnswers.by_comparisons(judged.wins)
    assert by_matrix.advantages == pytest.approx(judged.advantages), "mean logits are centred scores"
    assert JudgedAnswers.by_scores([72.0, 70.0], 0.5).advantages == (0.5, -0.5)


def test_a_cycle_has_no_best_answer_and_answers_that_did_not_meet_do_not_count():
    # three answers that beat each other in a circle by 0.703918 (logit 0.866025), as no score can
    p = 0.703918
    cycle = JudgedAnswers.by_comparisons([[0.5, p, 1 - p], [1 - p, 0.5, p], [p, 1 - p, 0.5]])
    assert cycle.win_rates == pytest.approx((0.5,) * 3) and cycle.advantages == pytest.approx((0.0,) * 3, abs=1e-12)
    part = JudgedAnswers.by_comparisons([[0.5, p, np.nan], [1 - p, 0.5, np.nan], [np.nan, np.nan, 0.5]])
    assert part.win_rates == pytest.approx(((0.5 + p) / 2, (1.5 - p) / 2, 0.5))
    assert part.advantages == pytest.approx((0.866025 / 2, -0.866025 / 2, 0.0), abs=1e-6)
    sure = JudgedAnswers.by_comparisons([[0.5, 1.0], [0.0, 0.5]])
    assert all(map(math.isfinite, sure.advantages))


@pytest.mark.parametrize(
    ("name", "settings", "says"),
    [
        ("best_wrost", {}, "Did you mean 'best_worst'"),
        ("threshold", {}, "needs the score that a good answer has at least. Type: --threshold"),
        ("all", {"threshold": 0.5}, "belongs to the pairing 'threshold'"),
        ("all", {"gap": -1.0}, "0 or more; got -1"),
        ("rejection", {"keep": 1}, "keeps 2 answers or more"),
        ("rejection", {"beta": -0.5}, "got 8 at -0.5"),
    ],
)
def test_settings_that_cannot_be_followed_are_named(name, settings, says):
    with pytest.raises(UserError, match=says):
        check_pairing(name, PairingSettings(**settings))
