"""Judges of a comparison: scorers with their part in the training, held-out ones first."""

from __future__ import annotations

from collections.abc import Sequence

from diffalign.errors import UserError
from diffalign.evaluation.compare.result import Role
from diffalign.scorers import Scorer, load_scorer


def load_judges(
    held_out: Sequence[str], trained_on: Sequence[str] = (), device: str = "cpu"
) -> dict[str, tuple[Scorer, Role]]:
    """Loads scorers by name, each with its role.

    Args:
        held_out: Scorers that the training never asked: they decide.
        trained_on: Scorers whose judgement made the pairs: shown apart.
        device: Where they compute.

    Raises:
        UserError: One scorer in both lists; an unknown scorer, or one that cannot be loaded.
    """
    both = sorted(set(held_out) & set(trained_on))
    if both:
        raise UserError(f"'{both[0]}' cannot both have made the pairs and be held out; name it once, under trained_on.")
    roles: list[tuple[str, Role]] = [(name, "held-out") for name in held_out]
    roles += [(name, "trained-on") for name in trained_on]
    return {name: (load_scorer(name, device), role) for name, role in roles}
