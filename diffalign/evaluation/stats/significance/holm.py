"""Holm's correction: with several judges, one of them finds a difference by chance more often than each alone does.

    in ascending order:    adjusted p_(k) = max over j <= k of min(1, (m - j + 1) p_(j))

Calling those below 0.05 significant makes any false finding among m judges in at most 5 % of all comparisons, however
the judges depend on each other.

Source: Holm 1979, Scandinavian Journal of Statistics 6.
"""

from __future__ import annotations

from collections.abc import Sequence


def holm(p_values: Sequence[float]) -> list[float]:
    """Returns the adjusted p-values in the order given.

    Facts: none is smaller than before; one alone does not change; their order stays.
    """
    order = sorted(range(len(p_values)), key=p_values.__getitem__)
    adjusted, largest = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(order):
        largest = max(largest, min(1.0, (len(order) - rank) * p_values[index]))
        adjusted[index] = largest
    return adjusted
