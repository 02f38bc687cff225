"""The scorers that are made of other scorers, one row each."""

from __future__ import annotations

from collections.abc import Callable

from diffalign.scorers.composed import constrained, ensemble
from diffalign.scorers.composed.composition_file import check_keys, entries, opening, read_composition, spec
from diffalign.scorers.composed.constrained import Constrained
from diffalign.scorers.composed.ensemble import Ensemble
from diffalign.scorers.composed.frame_mean import FrameMean
from diffalign.scorers.scorer import Scorer, ScorerEntry


def composed_scorers(
    load_scorer: Callable[[str, str], Scorer], medium_of: Callable[[str], str], check: Callable[[list[str]], None]
) -> dict[str, ScorerEntry]:
    """Returns the rows.

    Args:
        load_scorer: Loads the scorers inside by name and device.
        medium_of: Returns the medium of a scorer inside.
        check: Refuses scorers inside that are never used without another.
    """

    def of_members(path: str) -> str:
        content = read_composition(path, "ensemble", ensemble.EXAMPLE)
        check_keys(content, path, ["members"], ["combine", "k"])
        first = check_keys(entries(content, "members", path)[0], path, ["scorer"], ["mean", "scale", "weight", "unit"])
        with opening(path):
            return medium_of(spec(first, "scorer", path))

    def of_objective(path: str) -> str:
        content = read_composition(path, "constrained", constrained.EXAMPLE)
        check_keys(content, path, ["objective", "subject_to"], ["penalty", "lowest"])
        with opening(path):
            return medium_of(spec(content, "objective", path))

    return {
        "frames": ScorerEntry(
            lambda argument, device: FrameMean.load(argument, device, load_scorer),
            "a scorer of images with its own argument, as in frames:clip:FOLDER",
            "a scorer of images on every frame, averaged: blind to the frames' order",
            medium="video",
        ),
        "ensemble": ScorerEntry(
            lambda argument, device: Ensemble.load(argument, device, load_scorer, check),
            "a YAML or JSON file of its members with their means and scales",
            "several scorers as one: their sum, mean, worst, or mean less their disagreement",
            medium="",
            medium_of=of_members,
        ),
        "constrained": ScorerEntry(
            lambda argument, device: Constrained.load(argument, device, load_scorer, check),
            "a YAML or JSON file of an objective and of bounds on other scorers",
            "a score to maximise where other scores keep their bounds",
            medium="",
            medium_of=of_objective,
        ),
    }
