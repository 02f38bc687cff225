"""Roles of the answers in a batch: all pairs have the same ones, and an answer may have a prompt of its own."""

from __future__ import annotations

from collections.abc import Sequence

from diffalign.data.records.pair import Pair
from diffalign.errors import DataError


def roles_of(pairs: Sequence[Pair]) -> tuple[str, ...]:
    """Returns the roles of the answers, which all pairs share. Raises DataError if they differ."""
    roles = tuple(pairs[0].answers)
    if other := next((pair for pair in pairs if tuple(pair.answers) != roles), None):
        raise DataError(
            f"pair '{other.id}' has {', '.join(other.answers)}, but '{pairs[0].id}' has {', '.join(roles)}: the "
            "pairs of a run must have answers for the same roles. Remove the others from the data."
        )
    return roles


def own_prompt_answers(pair: Pair) -> dict[str, Pair]:
    """Returns the answers of a pair that have a prompt of their own, by role, each as a single example."""
    return {
        role: Pair(f"{pair.id}/{role}", answer.prompt, answer.candidate, None, source=pair.source)
        for role, answer in pair.answers.items()
        if answer.prompt is not None
    }
