"""Win rates at equal style: what formatting explains is removed, and nothing else."""

import math

import numpy as np
import pytest

from diffalign.evaluation.stats.rates.length_control import length_controlled
from diffalign.evaluation.stats.rates.style_control import style_controlled

N = 1500


def _draw(skill, taste, more=0.0, seed=0):
    """Pairs whose log-odds are ``skill`` plus ``taste`` times the standardised difference of lists."""
    rng = np.random.default_rng(seed)
    base, aligned = rng.poisson(4, N), rng.poisson(4 + more, N)
    words = rng.poisson(100, (2, N))
    gap = (aligned - base) / np.maximum(aligned + base, 1e-9)
    chance = 1 / (1 + np.exp(-(skill + taste * gap / gap.std(ddof=1))))
    wins = (rng.random(N) < chance).astype(float)
    return wins, 1 - wins, {"words": (words[0], words[1]), "lists": (aligned, base)}


def test_a_gain_that_comes_from_lists_alone_vanishes():
    first, second, styles = _draw(skill=0.0, taste=1.5, more=3.0)
    result = style_controlled(first, second, styles)
    assert first.mean() > 0.65 and result.low < 0.5 < result.high
    assert result.slopes["lists"] == pytest.approx(1.5, abs=0.3) and abs(result.slopes["words"]) < 0.25


def test_a_gain_that_has_nothing_to_do_with_style_stays():
    first, second, styles = _draw(skill=0.8, taste=0.0, more=3.0)
    result = style_controlled(first, second, styles)
    assert result.rate == pytest.approx(first.mean(), abs=0.05) and result.low > 0.5
    assert abs(result.slopes["lists"]) < 0.25


def test_the_intercept_is_found_through_a_taste():
    first, second, styles = _draw(skill=0.5, taste=1.0, more=2.0)
    assert style_controlled(first, second, styles).rate == pytest.approx(1 / (1 + math.exp(-0.5)), abs=0.05)


def test_swapping_the_sides_mirrors_rate_and_interval_and_keeps_the_tastes():
    first, second, styles = _draw(skill=0.4, taste=0.7)
    one = style_controlled(first, second, styles)
    other = style_controlled(second, first, {name: (b, a) for name, (a, b) in styles.items()})
    assert (other.rate, other.low, other.high) == pytest.approx((1 - one.rate, 1 - one.high, 1 - one.low), abs=1e-6)
    assert other.slopes == pytest.approx(dict(one.slopes))


def test_style_counts_in_proportion_to_how_much_of_it_a_pair_has():
    first, second, styles = _draw(skill=0.3, taste=1.0)
    factors = np.random.default_rng(9).integers(1, 50, N)
    scaled = {name: (a * factors, b * factors) for name, (a, b) in styles.items()}
    assert style_controlled(first, second, scaled).slopes == pytest.approx(
        dict(style_controlled(first, second, styles).slopes)
    )


def test_features_without_a_difference_have_no_part_and_too_few_comparisons_no_fit():
    first, second, styles = _draw(skill=0.4, taste=0.7)
    none = {"headers": (np.zeros(N), np.zeros(N))}
    assert style_controlled(first, second, {**styles, **none}) == style_controlled(first, second, styles)
    assert style_controlled(first, second, none) is None
    few = {name: (a[:15], b[:15]) for name, (a, b) in styles.items()}
    assert style_controlled(first[:15], second[:15], few) is None


def test_the_interval_covers_at_its_rate():
    covered = []
    for seed in range(150):
        first, second, styles = _draw(skill=0.3, taste=1.0, more=2.0, seed=seed)
        part = {name: (a[:200], b[:200]) for name, (a, b) in styles.items()}
        result = style_controlled(first[:200], second[:200], part)
        covered.append(result.low <= 1 / (1 + math.exp(-0.3)) <= result.high)
    assert np.mean(covered) >= 0.95 - 2.6 * math.sqrt(0.95 * 0.05 / 150)


def test_copies_of_a_prompt_are_no_evidence_and_nan_is_left_out():
    first, second, styles = _draw(skill=0.3, taste=0.5)
    part = {name: (a[:60], b[:60]) for name, (a, b) in styles.items()}
    once = style_controlled(first[:60], second[:60], part)
    copies = {name: (np.tile(a, 4), np.tile(b, 4)) for name, (a, b) in part.items()}
    often = style_controlled(np.tile(first[:60], 4), np.tile(second[:60], 4), copies, list(range(60)) * 4)
    assert often.high - often.low > 0.8 * (once.high - once.low)
    holed = np.append(first[:60], math.nan), np.append(second[:60], 1.0)
    assert style_controlled(*holed, {n: (np.append(a, 9), np.append(b, 0)) for n, (a, b) in part.items()}).n == 60


def test_length_alone_is_the_same_fit():
    """The slope of length control is that of tanh(d / sd); here the rate has to agree with the general fit."""
    first, second, styles = _draw(skill=0.6, taste=0.0)
    aligned, base = styles["words"]
    assert length_controlled(first, second, aligned - base).rate == pytest.approx(
        style_controlled(first, second, {"words": (aligned, base)}).rate, abs=0.01
    )
