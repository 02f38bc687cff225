"""The answers of a batch: every pair has the same ones, and some may answer a prompt of their own."""

from __future__ import annotations

from collections.abc import Sequence

from diffalign.data.records.pair import Pair
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


def own_prompt_answers(pair: Pair) -> dict[str, Pair]:
    """The answers of a pair that have a prompt of their own, by role, each as an example of its own."""
    return {
        role: Pair(f"{pair.id}/{role}", answer.prompt, answer.candidate, None, source=pair.source)
        for role, answer in pair.answers.items()
        if answer.prompt is not None
    }
