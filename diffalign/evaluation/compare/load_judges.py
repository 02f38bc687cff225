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
        UserError: One scorer in both lists, by itself or as a part of another; an unknown scorer, or one that cannot be
            loaded or used alone.
    """
    both = sorted(set(held_out) & set(trained_on))
    if both:
        raise UserError(f"'{both[0]}' cannot both have made the pairs and be held out; name it once, under trained_on.")
    check_companions([*held_out, *trained_on])
    roles: list[tuple[str, Role]] = [(name, "held-out") for name in held_out]
    roles += [(name, "trained-on") for name in trained_on]
    shown = display_names(name for name, _ in roles)
    judges: dict[str, tuple[Scorer, Role]] = {shown[name]: (load_scorer(name, device), role) for name, role in roles}
    _check_parts(judges)
    return judges


def _check_parts(judges: Mapping[str, tuple[Scorer, Role]]) -> None:
    """Raises UserError if a judge that training learnt from is a part of a held-out one, or the other way round."""
    trained = {part: name for name, (scorer, role) in judges.items() if role == "trained-on" for part in _parts(scorer)}
    for name, (scorer, role) in judges.items():
        shared = [part for part in _parts(scorer) if part in trained] if role == "held-out" else []
        if shared:
            raise UserError(
                f"'{name}' is not held out: '{trained[shared[0]]}', which made the pairs, shares the scorer "
                f"{shared[0]} with it. Name both under trained_on, or leave that scorer out of one of them."
            )


def _parts(scorer: Scorer) -> list[str]:
    """Returns the names of a scorer and of all that it is made of."""
    inside = getattr(scorer, "scorers", ())
    return [scorer.name, *(part for inner in inside for part in _parts(inner))]


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
