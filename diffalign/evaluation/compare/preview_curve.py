"""Scores of a run's previews, step by step, against its drift.

Over-optimisation shows when the trained-on judge keeps rising while a held-out judge falls. Previews share prompts and
seeds from step to step, so every comparison is paired; the first previews are samples of the base. The horizontal axis
is the square root of the drift, in which the scores of both judges are nearly linear at first.

Source: Gao et al. 2022 (arXiv 2210.10760), scores of a training and of a true reward against the root of the KL.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from diffalign.errors import UserError
from diffalign.evaluation.compare.drift import Drift
from diffalign.evaluation.compare.load_judges import check_judges
from diffalign.evaluation.compare.result import Role
from diffalign.evaluation.compare.stillness import stillness_cautions
from diffalign.evaluation.samples.medium import find_medium
from diffalign.evaluation.stats.rates.share import percent
from diffalign.evaluation.stats.rates.win_rate import WinRate, win_rate
from diffalign.files.json_lines import intact_values, json_line
from diffalign.scorers.scorer import Scorer

DRIFT_FILE = "drift.jsonl"
"""Name of the file in the run's folder that holds the drift at each preview."""


@dataclass(frozen=True)
class PreviewCurve:
    """Scores of a run's previews.

    Args:
        steps: Steps with previews, ascending; at least two.
        roles: By judge ``"held-out"`` or ``"trained-on"``.
        scores: By judge, for each step the scores of its samples, ``(steps, N)``.
        prompts: ``(N,)``.
        drifts: The drift at each step, None if it was not measured.
    """

    steps: tuple[int, ...]
    roles: Mapping[str, Role]
    scores: Mapping[str, tuple[tuple[float, ...], ...]]
    prompts: tuple[str, ...]
    drifts: tuple[Drift | None, ...]

    def mean(self, judge: str, step: int) -> float:
        """Returns a judge's mean score at ``steps[step]``; nan without a finite score."""
        finite = [value for value in self.scores[judge][step] if math.isfinite(value)]
        return sum(finite) / len(finite) if finite else math.nan

    def win(self, judge: str, step: int, over: int = 0) -> WinRate | None:
        """Returns how often samples of ``steps[step]`` beat those of ``steps[over]``; None without finite scores."""
        try:
            return win_rate(self.scores[judge][step], self.scores[judge][over], self.prompts)
        except UserError:
            return None

    def judges(self, role: Role) -> list[str]:
        """Returns the names of the judges of a role."""
        return [name for name, judge_role in self.roles.items() if judge_role == role]

    def summary(self) -> list[str]:
        """Returns a sentence for each held-out judge that fell significantly from its best step to the last, while a
        trained-on judge rose; and of clips, for motion that fell while scores that prefer still clips rose.
        """
        last, sentences = len(self.steps) - 1, []
        for held in self.judges("held-out"):
            means = [self.mean(held, step) for step in range(last + 1)]
            if not all(map(math.isfinite, means)):
                continue
            top = max(range(last + 1), key=means.__getitem__)
            fell = self.win(held, last, over=top) if top < last else None
            if fell is None or not (fell.high < 0.5 and fell.p_value < 0.05):
                continue
            for trained in self.judges("trained-on"):
                rose = self.win(trained, last, over=top)
                if rose is not None and rose.rate > 0.5 and self.mean(trained, last) > self.mean(trained, top):
                    sentences.append(
                        f"Over-optimisation: from step {self.steps[top]}{self._drift_note(top)} to the end"
                        f"{self._drift_note(last)} {trained} (trained on) rose, while {held} (held out) fell. {held} "
                        f"prefers the last previews to the earlier ones in {percent(fell.rate)} of {fell.comparisons} "
                        f"comparisons. The model of about step {self.steps[top]} is better: stop there, or raise beta."
                    )
        return sentences + stillness_cautions(
            {name: (self.mean(name, 0), self.mean(name, last)) for name in self.roles}
        )

    def _drift_note(self, step: int) -> str:
        drift = self.drifts[step]
        return "" if drift is None else f" (drift {drift.value:.3g})"


def read_preview_curve(
    folder: Path,
    prompts: Sequence[str],
    seeds: Sequence[int],
    judges: Mapping[str, tuple[Scorer, Role]],
    medium: str,
) -> PreviewCurve | None:
    """Scores the previews in a run's folder.

    Args:
        folder: The run's folder, with ``previews/step-00000000/00-seed-0.png`` and so on.
        prompts, seeds: Prompts and seeds of the previews.
        judges: Name to (scorer, role). A judge that cannot score these prompts is left out.
        medium: Kind of samples.

    Returns:
        None if fewer than two steps have all previews, or no judge is left.
    """
    row = find_medium(medium)
    able = {name: judge for name, judge in judges.items() if _can_judge(judge, prompts, medium)}
    sample_prompts = [prompt for prompt in prompts for _ in seeds]
    names = [f"{k:02d}-seed-{seed}{row.suffix}" for k in range(len(prompts)) for seed in seeds]
    folders = {int(path.name.split("-")[1]): path for path in (folder / "previews").glob("step-*")}
    complete = {step: path for step, path in sorted(folders.items()) if all((path / name).is_file() for name in names)}
    if len(complete) < 2 or not able or not sample_prompts:
        return None
    contents = [[row.read(path / name) for name in names] for path in complete.values()]
    drifts = _read_drifts(folder / DRIFT_FILE)
    return PreviewCurve(
        steps=tuple(complete),
        roles={name: role for name, (_, role) in able.items()},
        scores={
            name: tuple(tuple(scorer.score(sample_prompts, samples).tolist()) for samples in contents)
            for name, (scorer, _) in able.items()
        },
        prompts=tuple(sample_prompts),
        drifts=tuple(drifts.get(step) for step in complete),
    )


def append_drift(folder: Path, step: int, drift: Drift) -> None:
    """Appends the drift at a step to :data:`DRIFT_FILE` in the run's folder."""
    row = {"step": step, "value": drift.value, "error": drift.error, "unit": drift.unit, "samples": drift.samples}
    with (folder / DRIFT_FILE).open("a", encoding="utf-8") as file:
        file.write(json_line({k: v if v != math.inf else None for k, v in row.items()}))


def _read_drifts(path: Path) -> dict[int, Drift]:
    """Reads drifts by step. The last line of a repeated step counts, and a line truncated by a kill is skipped."""
    drifts = {}
    for row in intact_values(path):
        try:
            step, error = row.pop("step"), row.pop("error")
            drifts[step] = Drift(error=math.inf if error is None else error, **row)
        except (ValueError, KeyError, TypeError):
            continue
    return drifts


def _can_judge(judge: tuple[Scorer, Role], prompts: Sequence[str], medium: str) -> bool:
    try:
        check_judges({"": judge}, prompts, medium)
    except UserError:
        return False
    return True
