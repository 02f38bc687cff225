"""Has the samples of a gallery judged: scored one by one, or compared with each other by prompt."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np

from diffalign.devices.processes import Processes
from diffalign.errors import DataError, UserError, near_miss
from diffalign.evaluation.samples.gallery import METADATA, Gallery
from diffalign.evaluation.samples.medium import MEDIA
from diffalign.evaluation.scoring.bad_samples import bad_samples_message, sentences
from diffalign.evaluation.scoring.score_log import ScoreLog
from diffalign.evaluation.scoring.score_samples import add_scores, pass_over
from diffalign.evaluation.scoring.sources import Samples, metadata_samples
from diffalign.pairs.making.compare_answers import Order, compare_answers
from diffalign.pairs.making.judged_answers import JudgedAnswers
from diffalign.pairs.making.pair_rows import OwnSample
from diffalign.pairs.making.prompt_samples import PromptSamples, samples_by_prompt
from diffalign.policies.policy import Progress
from diffalign.scorers.composed.sum_of_scores import Normalise, Term, sum_of_scores
from diffalign.scorers.scorer import Scorer, SupportsPromptCheck

SUM = "sum"
"""Name of the total of several scorers in ``metadata.jsonl``."""
By = Literal["auto", "scores", "comparisons"]
WAYS = ("auto", "scores", "comparisons")


@dataclass(frozen=True)
class Judges:
    """What judges the samples.

    Args:
        scorers: One, or several whose normalised scores are added.
        by: Whether they score samples or compare them; ``"auto"`` compares where a scorer gives no scores.
        weights: By name of a scorer its weight in the sum; 1 for the others.
        normalise: How the scores of several are normalised.
    """

    scorers: tuple[Scorer, ...]
    by: By = "auto"
    weights: Mapping[str, float] | None = None
    normalise: Normalise = "z-score"

    @property
    def names(self) -> str:
        """Their names in a sentence."""
        return " and ".join(scorer.name for scorer in self.scorers)

    @property
    def compare(self) -> bool:
        """Whether samples are compared instead of scored."""
        return self.by == "comparisons" or self.by == "auto" and not callable(getattr(self.scorers[0], "score", None))

    @property
    def add(self) -> bool:
        """Whether normalised scores are added."""
        return not self.compare and (len(self.scorers) > 1 or bool(self.weights))

    def check(self, medium: str, prompts: Sequence[str]) -> None:
        """Raises UserError or DataError for judges that cannot judge these samples, before one is made."""
        names = [scorer.name for scorer in self.scorers]
        if not names or len(set(names)) < len(names):
            raise UserError(f"a sum needs scorers that differ; got {', '.join(names) or 'none'}.")
        if self.by not in WAYS:
            raise UserError(f"samples are judged by {', '.join(WAYS)}; got '{self.by}'.{near_miss(self.by, WAYS)}")
        for scorer in self.scorers:
            if scorer.medium != medium:
                raise UserError(
                    f"the scorer {scorer.name} judges {MEDIA[scorer.medium].plural}, but this model makes "
                    f"{MEDIA[medium].plural}. `diffalign score --help` lists scorers."
                )
            if isinstance(scorer, SupportsPromptCheck):
                scorer.check_prompts(prompts)
        if self.compare and (len(names) > 1 or self.weights):
            raise UserError(
                f"comparisons are those of one judge; got {', '.join(names)}. Give one --scorer, or --by scores."
            )
        if not self.compare and (
            mute := [one.name for one in self.scorers if not callable(getattr(one, "score", None))]
        ):
            raise UserError(
                f"{mute[0]} only compares and gives no scores. Give it as the only judge, with --by comparisons."
            )
        if self.add:  # wrong weights are named before anything is sampled
            sum_of_scores({name: [0.0] for name in names}, self.weights, self.normalise)


@dataclass(frozen=True)
class JudgedPrompt:
    """A prompt, its samples, and how they were judged."""

    prompt: str
    samples: tuple[OwnSample, ...]
    judged: JudgedAnswers


@dataclass(frozen=True)
class Judgement:
    """All prompts as they were judged.

    Args:
        prompts: In the order of the gallery.
        terms: The terms of the score, where several scorers are added.
        clean_up: Removes what a killed call would resume from.
    """

    prompts: tuple[JudgedPrompt, ...]
    terms: tuple[Term, ...]
    clean_up: Callable[[], None]


def judge_samples(
    gallery: Gallery,
    judges: Judges,
    order: Order | None,
    *,
    batch: int,
    processes: Processes,
    progress: Progress | None,
) -> Callable[[], Judgement]:
    """Has all samples judged, by all processes, and returns what the first calls for the judgement.

    Args:
        gallery: The samples.
        judges: Who judges them.
        order: For a tournament of comparisons, the draw of a prompt's standing; None: all samples of a prompt meet.
        batch: Samples scored at once.
        processes: The processes that share the work.
        progress: ``progress(what, done, total)``.

    Raises:
        DataError: By the returned function: a sample has no score. The others are kept for the next call.
    """
    items = samples_by_prompt(gallery)
    if judges.compare:
        wins, remove = compare_answers(judges.scorers[0], items, gallery.folder, order, processes, progress)
        return partial(_compared, items, wins, remove)
    samples, by_name = metadata_samples(gallery.folder), {scorer.name: scorer for scorer in judges.scorers}
    table = gallery.folder / METADATA
    logs = pass_over(samples, by_name, table, batch=batch, processes=processes, progress=progress)
    return partial(_scored, items, samples, logs, judges, table)


def _compared(items: Sequence[PromptSamples], wins: Mapping[str, np.ndarray], remove: Callable[[], None]) -> Judgement:
    judged = [JudgedAnswers.by_comparisons(wins[item.key], item.groups) for item in items]
    return Judgement(tuple(_judged_prompt(item, one, {}) for item, one in zip(items, judged, strict=True)), (), remove)


def _scored(
    items: Sequence[PromptSamples], samples: Samples, logs: Sequence[ScoreLog], judges: Judges, table: Path
) -> Judgement:
    if bad := list(sentences(samples, logs)):
        raise DataError(bad_samples_message(bad, f"the .part files beside {table}"))
    columns = {log.spec: log.values[:, 0].tolist() for log in logs}
    ranked_by, terms, scale = next(iter(columns.values())), tuple[Term, ...](), 1.0
    if judges.add:
        ranked_by, terms = sum_of_scores(columns, judges.weights, judges.normalise)
    else:
        scale = getattr(judges.scorers[0], "logits_per_unit", None) or 1.0
    add_scores(table, columns | ({SUM: ranked_by} if judges.add else {}))
    prompts = tuple(
        _judged_prompt(item, JudgedAnswers.by_scores([ranked_by[n] for n in item.numbers], scale, item.groups), columns)
        for item in items
    )
    return Judgement(prompts, terms, partial(_remove, logs))


def _judged_prompt(item: PromptSamples, judged: JudgedAnswers, columns: Mapping[str, Sequence[float]]) -> JudgedPrompt:
    numbers = zip(
        item.numbers, item.seeds, item.contents, judged.values, judged.win_rates, judged.advantages, strict=True
    )
    own = tuple(
        OwnSample(seed, content, value, win, advantage, {name: column[n] for name, column in columns.items()})
        for n, seed, content, value, win, advantage in numbers
    )
    return JudgedPrompt(item.prompt, own, judged)


def _remove(logs: Sequence[ScoreLog]) -> None:
    for log in logs:
        log.remove()
