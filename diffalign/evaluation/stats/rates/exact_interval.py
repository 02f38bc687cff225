"""The exact interval of a share (Clopper and Pearson): it covers the true share at its rate or above, for every n.

    low  = the share at which ``hits`` or more of ``n`` have probability (1 - level) / 2
    high = the share at which ``hits`` or fewer of ``n`` have that probability

It is wider than Wilson's, whose coverage is right on average only. Of wins among decided comparisons it excludes one
half exactly where the sign test has p < 1 - level.

Source: Clopper and Pearson 1934, Biometrika 26, by quantiles of the beta distribution.
"""

from __future__ import annotations

from diffalign.errors import UserError
from diffalign.evaluation.stats.rates.bootstrap import LEVEL


def exact_interval(hits: int, n: int, *, level: float = LEVEL) -> tuple[float, float]:
    """Returns the exact interval of ``hits`` out of ``n``; (0, 1) if ``n`` is 0.

    Args:
        hits: Whole number in 0 ... n. A tie is neither a hit nor a miss: leave it out of both numbers.
        n: Number of independent trials, such as prompts.
        level: Rate of coverage, in (0, 1).

    Raises:
        UserError: The numbers are no count and its total, or the level is none.
    """
    from scipy.stats import beta

    if not (hits == int(hits) and n == int(n) and 0 <= hits <= n and 0 < level < 1):
        raise UserError(
            f"an exact interval needs whole numbers 0 <= hits <= n and a level between 0 and 1; got {hits} of {n} at "
            f"{level}. Leave ties out of both numbers."
        )
    tail = (1 - level) / 2
    low = float(beta.ppf(tail, hits, n - hits + 1)) if hits else 0.0
    high = float(beta.ppf(1 - tail, hits + 1, n - hits)) if hits < n else 1.0
    return low, high
