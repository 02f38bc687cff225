"""The answers of a batch: every pair has the same ones."""

from __future__ import annotations

from collections.abc import Sequence

from diffalign.data.records import Pair
from diffalign.errors import DataError


def roles_of(pairs: Sequence[Pair]) -> tuple[str, ...]:
    """The roles that each pair has an answer for. Raises DataError where they differ."""
    roles = tuple(pairs[0].answers)
    if other := next((pair for pair in pairs if tuple(pair.answers) != roles), None):
        raise DataError(
            f"pair '{other.id}' has {', '.join(other.answers)}, but '{pairs[0].id}' has {', '.join(roles)}: the "
            "pairs of a run have the same answers. Leave the others out."
        )
    return roles
