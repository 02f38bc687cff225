"""The table of scorers by name, and how one is found, loaded and added."""

from __future__ import annotations

from collections.abc import Sequence

from diffalign.errors import ConfigError, UserError, near_miss
from diffalign.register_row import register_row
from diffalign.scorers.aligned.rows import ALIGNED_SCORERS
from diffalign.scorers.clips.rows import CLIP_SCORERS
from diffalign.scorers.compare import Judge, as_judge
from diffalign.scorers.composed.rows import composed_scorers
from diffalign.scorers.images.rows import IMAGE_SCORERS
from diffalign.scorers.scorer import ScorerEntry
from diffalign.scorers.texts.rows import TEXT_SCORERS


def load_scorer(spec: str, device: str = "cpu") -> Judge:
    """Loads ``"name"`` or ``"name:argument"``.

    Args:
        spec: A name of :data:`SCORERS`, with an optional argument after a colon.
        device: The device of a scorer with weights.

    Returns:
        The scorer. It scores, and it compares: ``compare(prompts, a, b)`` is the probability that ``a`` wins. A scorer
        from outside the package that lacks ``compare`` or ``preprocessing`` gets them here.

    Raises:
        UserError: The name is unknown, or the scorer does not accept the argument.
    """
    return as_judge(scorer_entry(spec).load(spec.partition(":")[2], device))


SCORERS: dict[str, ScorerEntry] = {
    **IMAGE_SCORERS,
    **CLIP_SCORERS,
    **TEXT_SCORERS,
    **ALIGNED_SCORERS,
    **composed_scorers(load_scorer, lambda spec: scorer_medium(spec), lambda specs: check_companions(specs)),
}
"""Name to entry; plugins add to it by :func:`register_scorer`."""
BUILT_IN = frozenset(SCORERS)


def scorer_entry(spec: str) -> ScorerEntry:
    """Returns the entry of ``"name"`` or ``"name:argument"``; loads nothing. Raises UserError for an unknown name."""
    name = spec.partition(":")[0]
    if name not in SCORERS:
        raise UserError(
            f"There is no scorer '{name}'.{near_miss(name, SCORERS)} Known: "
            + "; ".join(f"{name} ({entry.argument})" for name, entry in SCORERS.items())
            + "."
        )
    return SCORERS[name]


def scorer_medium(spec: str) -> str:
    """Returns the medium that ``"name"`` or ``"name:argument"`` scores; loads no model.

    Raises:
        UserError: The name is unknown, or the argument is a file that names no scorers.
    """
    entry = scorer_entry(spec)
    return entry.medium if entry.medium_of is None else entry.medium_of(spec.partition(":")[2])


def register_scorer(name: str, entry: ScorerEntry, *, replace: bool = False) -> ScorerEntry:
    """Adds a scorer from outside the package, for `diffalign score`, `evaluate.scorers` and every other place.

    Args:
        name: Its name, before the colon.
        entry: How it is loaded, and what it takes and scores.
        replace: Whether it takes the place of a scorer of that name that was registered before.

    Returns:
        The entry.

    Raises:
        ConfigError: The name is taken, or the entry is none.
    """
    if not isinstance(entry, ScorerEntry):
        raise ConfigError(f"a scorer is registered as an entry, diffalign.ScorerEntry(load, ...); got {entry!r}.")
    register_row("scorer", SCORERS, name, entry, built_in=BUILT_IN, replace=replace)
    return entry


def check_companions(specs: Sequence[str]) -> None:
    """Checks that no scorer is used alone that rewards a defect: `flicker` needs a measure of motion beside it.

    Args:
        specs: All scorers that are used together, as :func:`load_scorer` takes them.

    Raises:
        UserError: A scorer is unknown, or lacks its companion.
    """
    names = {spec.partition(":")[0] for spec in specs}
    for spec in specs:
        beside = scorer_entry(spec).beside
        if beside and not names & set(beside):
            raise UserError(
                f"{spec} alone prefers clips that stand still: use it with {' or '.join(beside)}. Add: --scorer "
                f"{beside[0]}"
            )
