"""Judges of a comparison: scorers, each either held out or trained on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from diffalign.errors import UserError
from diffalign.evaluation.compare.result import Role
from diffalign.evaluation.samples.medium import find_medium
from diffalign.scorers import SCORERS, Scorer, check_companions, load_scorer
from diffalign.scorers.display_name import display_names
from diffalign.scorers.scorer import SupportsPromptCheck


def load_judges(
    held_out: Sequence[str], trained_on: Sequence[str] = (), device: str = "cpu"
) -> dict[str, tuple[Scorer, Role]]:
    """Loads scorers by their display names, each with its role; held-out ones come first.

    Args:
        held_out: Scorers that training never used; they decide the verdict.
        trained_on: Scorers whose scores made the pairs; they are shown separately.
        device: Device of the scorers.

    Raises:
        UserError: One scorer in both lists; an unknown scorer, or one that cannot be loaded or used alone.
    """
    both = sorted(set(held_out) & set(trained_on))
    if both:
        raise UserError(f"'{both[0]}' cannot both have made the pairs and be held out; name it once, under trained_on.")
    check_companions([*held_out, *trained_on])
    roles: list[tuple[str, Role]] = [(name, "held-out") for name in held_out]
    roles += [(name, "trained-on") for name in trained_on]
    shown = display_names(name for name, _ in roles)
    return {shown[name]: (load_scorer(name, device), role) for name, role in roles}


def check_judges(judges: Mapping[str, tuple[Scorer, Role]], prompts: Sequence[str], medium: str | None = None) -> None:
    """Checks roles, media and prompts before anything is generated.

    Raises:
        UserError: An unknown role, a judge of another medium, or a prompt that a judge cannot score.
    """
    for name, (scorer, role) in judges.items():
        if role not in ("held-out", "trained-on"):
            raise UserError(
                f"The scorer '{name}' is marked '{role}'. Mark it 'trained-on' if its scores made the pairs or the "
                "reward, and 'held-out' otherwise."
            )
        scored_medium = scorer.medium
        if medium is not None and scored_medium != medium:
            samples = find_medium(medium).plural
            fitting = [key for key, row in SCORERS.items() if row.medium == medium]
            raise UserError(
                f"The scorer '{name}' judges {find_medium(scored_medium).plural}, but there are {samples} to judge. "
                f"Judges of {samples}: {', '.join(fitting) or 'none so far'}."
            )
        if isinstance(scorer, SupportsPromptCheck):
            scorer.check_prompts(prompts)
