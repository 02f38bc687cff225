"""The course of a run: what judges say of its previews, step by step, against how far it had drifted.

Over-optimisation shows as a parting: the judge that training learnt from goes on rising while one that it never saw
turns down. Previews share prompts and seeds from step to step, so every comparison is paired; the first ones are
samples of the base. On the axis of drift stands its square root, along which both judges start out like straight lines.

Source: Gao et al. 2022 (arXiv 2210.10760), scores of a training and of a true reward against the root of the KL.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from diffalign.errors import UserError
from diffalign.evaluation.compare.drift import Drift
from diffalign.evaluation.compare.result import Role
from diffalign.evaluation.compare.run import check_judges
from diffalign.evaluation.samples.medium import find_medium
from diffalign.evaluation.stats.statistics import WinRate, percent, win_rate
from diffalign.scorers.scorer import Scorer

DRIFTS = "drift.jsonl"
"""Where the drift at each preview is noted, in the run's folder."""


@dataclass(frozen=True)
class PreviewCurve:
    """A run by its previews.

    Args:
        steps: Where there are some, ascending; at least two.
        roles: By judge ``"held-out"`` or ``"trained-on"``.
        scores: By judge, for each step the scores of its samples, ``(steps, N)``.
        prompts: ``(N,)``.
        drifts: The drift at each step, None where nobody looked.
    """

    steps: tuple[int, ...]
    roles: Mapping[str, Role]
    scores: Mapping[str, tuple[tuple[float, ...], ...]]
    prompts: tuple[str, ...]
    drifts: tuple[Drift | None, ...]

    def mean(self, judge: str, step: int) -> float:
        """A judge's mean score at the step of this number in ``steps``; nan without a finite one."""
        finite = [value for value in self.scores[judge][step] if math.isfinite(value)]
        return sum(finite) / len(finite) if finite else math.nan

    def win(self, judge: str, step: int, over: int = 0) -> WinRate | None:
        """How often the samples of one step beat those of another; None without finite scores."""
        try:
            return win_rate(self.scores[judge][step], self.scores[judge][over], self.prompts)
        except UserError:
            return None

    def named(self, role: Role) -> list[str]:
        """The judges of a role."""
        return [name for name, own in self.roles.items() if own == role]

    def summary(self) -> list[str]:
        """A sentence for each held-out judge that surely fell from its best step to the last, while one that training
        learnt from did not."""
        last, told = len(self.steps) - 1, []
        for held in self.named("held-out"):
            means = [self.mean(held, step) for step in range(last + 1)]
            if not all(map(math.isfinite, means)):
                continue
            top = max(range(last + 1), key=means.__getitem__)
            fell = self.win(held, last, over=top) if top < last else None
            if fell is None or not (fell.high < 0.5 and fell.p_value < 0.05):
                continue
            for trained in self.named("trained-on"):
                rose = self.win(trained, last, over=top)
                if rose is not None and rose.rate > 0.5 and self.mean(trained, last) > self.mean(trained, top):
                    told.append(
                        f"Over-optimisation: from step {self.steps[top]}{self._at(top)} to the end{self._at(last)} "
                        f"{trained} (trained on) rose, while {held} (held out) fell: it prefers the last previews to "
                        f"the earlier ones in {percent(fell.rate)} of {fell.comparisons} comparisons. The model of "
                        f"about step {self.steps[top]} is the better one: stop there, or raise beta."
                    )
        return told

    def _at(self, step: int) -> str:
        drift = self.drifts[step]
        return "" if drift is None else f" (drift {drift.value:.3g})"


def read_preview_curve(
    folder: Path,
    prompts: Sequence[str],
    seeds: Sequence[int],
    judges: Mapping[str, tuple[Scorer, Role]],
    medium: str,
) -> PreviewCurve | None:
    """Judges the previews in a run's folder.

    Args:
        folder: The run's, with ``previews/step-00000000/00-seed-0.png`` and the like.
        prompts, seeds: Of the previews.
        judges: Name to (scorer, role). One that cannot judge these prompts is left out.
        medium: What the samples are.

    Returns:
        None where fewer than two steps have all previews, or no judge is left.
    """
    kind = find_medium(medium)
    able = {name: judge for name, judge in judges.items() if _can(judge, prompts, medium)}
    asked = [prompt for prompt in prompts for _ in seeds]
    names = [f"{k:02d}-seed-{seed}{kind.suffix}" for k in range(len(prompts)) for seed in seeds]
    places = {int(place.name.split("-")[1]): place for place in (folder / "previews").glob("step-*")}
    whole = {step: place for step, place in sorted(places.items()) if all((place / name).is_file() for name in names)}
    if len(whole) < 2 or not able or not asked:
        return None
    contents = [[kind.read(place / name) for name in names] for place in whole.values()]
    drifts = _drifts(folder / DRIFTS)
    return PreviewCurve(
        steps=tuple(whole),
        roles={name: role for name, (_, role) in able.items()},
        scores={
            name: tuple(tuple(scorer.score(asked, one).tolist()) for one in contents)
            for name, (scorer, _) in able.items()
        },
        prompts=tuple(asked),
        drifts=tuple(drifts.get(step) for step in whole),
    )


def note_drift(folder: Path, step: int, drift: Drift) -> None:
    """Adds a line to the notes of a run, in its folder."""
    row = {"step": step, "value": drift.value, "error": drift.error, "unit": drift.unit, "samples": drift.samples}
    with (folder / DRIFTS).open("a", encoding="utf-8") as file:
        file.write(json.dumps({k: v if v != math.inf else None for k, v in row.items()}) + "\n")


def _drifts(path: Path) -> dict[int, Drift]:
    """The notes by step; of a step that was done again the later one, and a line that a kill cut short is no line."""
    found = {}
    for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else []:
        try:
            row = json.loads(line)
            step, error = row.pop("step"), row.pop("error")
            found[step] = Drift(error=math.inf if error is None else error, **row)
        except (ValueError, KeyError, TypeError):
            continue
    return found


def _can(judge: tuple[Scorer, Role], prompts: Sequence[str], medium: str) -> bool:
    try:
        check_judges({"": judge}, prompts, medium)
    except UserError:
        return False
    return True
