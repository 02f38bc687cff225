"""Which answer to reject: the distribution that makes DPO aim at a wanted policy."""

import math
from collections import Counter

import pytest

from diffalign.data.records.pair import Answer, Pair
from diffalign.data.transforms.choose_rejected_from_list import draw_rejected, gains_of, rejection_weights
from diffalign.errors import DataError

REFERENCE, WANTED, BETA = (0.5, 0.3, 0.2), (0.2, 0.3, 0.5), 0.5
GAINS = [math.log(w / r) for w, r in zip(WANTED, REFERENCE, strict=True)]


def ideal():
    """What the reference says, each drawn as a rejected answer."""
    weights = rejection_weights(GAINS, beta=BETA)
    raw = [r * w for r, w in zip(REFERENCE, weights, strict=True)]
    return [value / sum(raw) for value in raw]


def test_the_worked_numbers():
    assert ideal() == pytest.approx([0.649573, 0.246496, 0.103932], abs=1e-6)


def test_labels_between_reference_and_designed_answers_are_beta_times_the_wanted_margin():
    """So that DPO with that beta on them has the wanted policy as its optimum."""
    ratios = [math.log(r / i) for r, i in zip(REFERENCE, ideal(), strict=True)]
    for one in range(3):
        for other in range(3):
            expected = BETA * (GAINS[one] - GAINS[other])
            assert ratios[one] - ratios[other] == pytest.approx(expected, abs=1e-12)


def test_weights_do_not_feel_a_constant_and_beta_zero_draws_all_alike():
    assert rejection_weights([g + 1e4 for g in GAINS], beta=BETA) == pytest.approx(rejection_weights(GAINS, beta=BETA))
    assert rejection_weights(GAINS, beta=0.0) == pytest.approx([1 / 3] * 3)


def ranked(name="r"):
    scores = {"chosen": {"rm": 5.0}, "2": {"rm": 3.0}, "3": {"rm": 2.0}, "rejected": {"rm": 0.0}, "pair": {"seed": 1.0}}
    return Pair(name, "p", "a", "d", scores=scores, further={"2": Answer("b"), "3": Answer("c"), "gold": Answer("g")})


def test_draws_follow_the_weights_and_take_the_scores_along():
    gains = gains_of(ranked(), "rm", reward_beta=2.0)
    assert gains == {"2": 1.5, "3": 1.0, "rejected": 0.0}
    seen = Counter()
    for number in range(3000):
        drawn, weights = draw_rejected(ranked(f"r{number}"), gains, beta=1.0)
        seen[drawn.rejected] += 1
        score = {"b": 3.0, "c": 2.0, "d": 0.0}[drawn.rejected]
        assert drawn.scores["rejected"] == {"rm": score} and drawn.scores["chosen"] == {"rm": 5.0}
        assert set(drawn.scores) == {"chosen", "rejected", "pair"} and not drawn.further and drawn.chosen == "a"
        assert drawn.scores["pair"]["seed"] == 1.0
    for text, role in (("b", "2"), ("c", "3"), ("d", "rejected")):
        assert seen[text] / 3000 == pytest.approx(weights[role], abs=0.03)


def test_the_id_decides_the_draw():
    gains = gains_of(ranked(), "rm", reward_beta=1.0)
    assert draw_rejected(ranked(), gains, beta=0.1) == draw_rejected(ranked(), gains, beta=0.1)
    assert len({draw_rejected(ranked(), gains, beta=0.1, seed=seed)[0].rejected for seed in range(20)}) > 1


def test_an_answer_without_the_score_is_named():
    with pytest.raises(DataError, match="'rejected' has no score 'clip'; it has rm"):
        gains_of(ranked(), "clip", reward_beta=1.0)
