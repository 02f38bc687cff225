"""Judges of a round: each prompt's answers get scores, or are compared with each other.

    label       the data's own label: its chosen answer 1, every other answer 0
    SCORER      any scorer, which scores the answers or compares them
    several     their scores, normalised over the answers of the round, weighted and added

What they say is kept by content on disk, with the hash of their weights in its name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from diffalign.data.storage.tensor_cache import TensorCache
from diffalign.devices.residency import Residency
from diffalign.errors import ConfigError
from diffalign.evaluation.scoring.score_log import identity
from diffalign.pairs.make_reference_samples import fill_cache
from diffalign.pairs.making.judge_samples import SUM, By, Judges
from diffalign.pairs.making.judged_answers import JudgedAnswers
from diffalign.pairs.rounds.answers import PromptAnswers
from diffalign.pairs.rounds.hear_judges import hear_judges, prompt_for_judges
from diffalign.pairs.source import RoundContext
from diffalign.policies.stages import enter_stage
from diffalign.randomness import stream
from diffalign.scorers import load_scorer, scorer_medium
from diffalign.scorers.composed.sum_of_scores import Normalise, sum_of_scores
from diffalign.scorers.resident_judges import judges_residency

LABEL = "label"
"""The judge that reads the data's own label."""


@dataclass(frozen=True)
class Judged:
    """A prompt's answers as they were judged.

    Args:
        answers: What ranks them, their win rates and advantages.
        scores: Each judge's own scores of the answers, by name, and those that rank them; none of a judge that only
            compares.
    """

    answers: JudgedAnswers
    scores: Mapping[str, tuple[float, ...]]


@dataclass(frozen=True)
class RoundJudges:
    """What judges the answers of rounds. Scorers are loaded when the first answers are there, and on
    the device only while they judge.

    Args:
        specs: Names of scorers, or :data:`LABEL`.
        by: ``"scores"``, ``"comparisons"`` or ``"auto"``, as for :class:`~diffalign.pairs.making.judge_samples.Judges`.
        weights: By name, of several scorers.
        normalise: How the scores of several are normalised.
        tournament: Whether comparisons are the matches of a tournament.
    """

    specs: tuple[str, ...]
    by: By = "auto"
    weights: Mapping[str, float] = field(default_factory=dict)
    normalise: Normalise = "z-score"
    tournament: bool = False
    _loaded: dict[str, tuple[Judges, Residency]] = field(default_factory=dict, repr=False, compare=False)

    def check_medium(self, medium: str) -> None:
        """Raises ConfigError where a judge judges another medium; UserError where there is none of its name."""
        for spec in self.specs:
            if spec != LABEL and scorer_medium(spec) != medium:
                raise ConfigError(
                    f"the judge {spec} judges {scorer_medium(spec)}s, but this model makes {medium}s. Type: --set "
                    "pairs.judge=SCORER   (`diffalign score --help` lists scorers)"
                )

    def judge(self, items: Sequence[PromptAnswers], number: int, context: RoundContext) -> list[Judged]:
        """Returns what the judges say of each prompt's answers. Each prompt is judged once, by one of the processes,
        its answers together and no others with them.

        Args:
            items: Prompts with their answers.
            number: The round.
            context: Its policy shows its samples.
        """
        if self.specs == (LABEL,):
            return [_by_label(item) for item in items]
        judges, owner = self._load(context)
        judges.check(context.policy.medium, [prompt_for_judges(item, context.policy.medium) for item in items])
        cache = TensorCache(Path(context.folder) / "judged", self._maker(judges))
        by_key = {item.key: item for item in items}

        def make(keys: Sequence[str]) -> None:
            heard = {key: hear_judges(judges, by_key[key], self._order(by_key[key], context), context) for key in keys}
            cache.put_many(heard)

        enter_stage(context.policy, "judge")
        owner.bring("judges")
        fill_cache(list(by_key), cache, context, f"judge answers (round {number})", batch=1, make=make)
        heard = [
            cache.get(item.key) or hear_judges(judges, item, self._order(item, context), context) for item in items
        ]
        owner.enter("sample")
        return _compared(heard) if judges.compare else self._scored(judges, items, heard)

    def _load(self, context: RoundContext) -> tuple[Judges, Residency]:
        if context.device not in self._loaded:
            scorers = tuple(load_scorer(spec, device=context.device) for spec in self.specs)
            named = dict(zip(self.specs, (scorer.name for scorer in scorers), strict=True))
            weights = {named.get(spec, spec): weight for spec, weight in self.weights.items()}
            owner = judges_residency(scorers, torch.device(context.device))
            self._loaded[context.device] = Judges(scorers, self.by, weights, self.normalise), owner
        return self._loaded[context.device]

    def _maker(self, judges: Judges) -> str:
        names = [f"{scorer.name} {sorted(identity(scorer).items())}" for scorer in judges.scorers]
        way = ("tournament" if self.tournament else "comparisons") if judges.compare else "scores"
        return f"{way} by {'; '.join(names)}"

    def _order(self, item: PromptAnswers, context: RoundContext) -> np.random.Generator | None:
        return stream(context.seed, item.row.id, 0, "tournament") if self.tournament else None

    def _scored(
        self, judges: Judges, items: Sequence[PromptAnswers], heard: Sequence[Mapping[str, Tensor]]
    ) -> list[Judged]:
        columns = {
            spec: [value for entry in heard for value in entry["scores"][n].tolist()]
            for n, spec in enumerate(self.specs)
        }
        ranked_by, scale = columns[self.specs[0]], getattr(judges.scorers[0], "logits_per_unit", None) or 1.0
        if judges.add:
            (ranked_by, _), scale = sum_of_scores(columns, self.weights, self.normalise), 1.0
        columns = {**columns, **({SUM: ranked_by} if judges.add else {})}
        judged, start = [], 0
        for item, entry in zip(items, heard, strict=True):
            end = start + len(item.answers)
            answers = JudgedAnswers.by_scores(ranked_by[start:end], scale, tuple(entry["groups"].tolist()))
            judged.append(Judged(answers, {name: tuple(column[start:end]) for name, column in columns.items()}))
            start = end
        return judged


def _compared(heard: Sequence[Mapping[str, Tensor]]) -> list[Judged]:
    answers = [JudgedAnswers.by_comparisons(entry["wins"].numpy(), entry["groups"].tolist()) for entry in heard]
    return [Judged(one, {}) for one in answers]


def _by_label(item: PromptAnswers) -> Judged:
    scores = tuple(float(place == item.own) for place in range(len(item.answers)))
    return Judged(JudgedAnswers.by_scores(scores), {LABEL: scores})
