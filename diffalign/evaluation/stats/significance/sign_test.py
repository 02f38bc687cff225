"""The sign test: whether wins and losses differ by more than a fair coin's."""

from __future__ import annotations


def sign_test(wins: int, losses: int) -> float:
    """Returns the two-sided p-value of ``wins`` out of ``wins + losses`` against one half; 1 without any of them."""
    from scipy.stats import binomtest

    return float(binomtest(wins, wins + losses, 0.5).pvalue) if wins + losses else 1.0
