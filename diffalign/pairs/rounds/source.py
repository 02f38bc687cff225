"""The source ``pairs: rounds``: in each round the policy answers prompts, judges rank the answers, pairs are formed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from diffalign.data.records.pair import Media, Pair
from diffalign.data.records.to_sample import ToSample
from diffalign.errors import ConfigError
from diffalign.pairs.checkpoint_pool import CheckpointPool
from diffalign.pairs.checkpoint_samples import remove_rounds
from diffalign.pairs.dataset import DatasetPairs
from diffalign.pairs.making.judge_samples import By
from diffalign.pairs.making.pairings import PairingSettings
from diffalign.pairs.rounds.answers import FROM_DATA, PromptAnswers, RoundSamples, data_answers
from diffalign.pairs.rounds.borders import BORDERS
from diffalign.pairs.rounds.form_pairs import form_pairs, waiting_pairs
from diffalign.pairs.rounds.judging import RoundJudges
from diffalign.pairs.rounds.settings import RoundSettings
from diffalign.pairs.rounds.who import reference_entry, sampler_entries
from diffalign.pairs.source import PairSource, RoundContext
from diffalign.randomness import stream
from diffalign.scorers.composed.sum_of_scores import Normalise


@dataclass(frozen=True)
class JudgedRounds:
    """Comparisons of answers that the policy gives to prompts round by round, as judges rank them.

    Args:
        rows: A row of the data for each prompt.
        settings: How rounds are made.
        origin: Where the rows come from, for the header.
    """

    rows: Sequence[Pair]
    settings: RoundSettings
    origin: str

    @property
    def every(self) -> int:
        """Optimizer steps per round."""
        return self.settings.every

    @property
    def together(self) -> int:
        """Places of a prompt: they follow each other, so that a round needs as few prompts as its pairs allow."""
        return self.settings.places

    @cached_property
    def pairs(self) -> Sequence[Pair]:
        """The places of all prompts, with answers that do not exist yet."""
        return [pair for row in self.rows for pair in self._waiting(row)]

    def __len__(self) -> int:
        return len(self.rows) * self.together

    def summary(self) -> str:
        """Returns one line: how many prompts, who answers, who judges, and what the reference is."""
        made = self.settings
        data = {"none": "", "chosen": " and the data's chosen answer", "both": " and the data's two answers"}
        answers = f"{made.answers} answers by {', '.join(made.samplers)}" if made.answers else "no sample"
        return (
            f"{len(self.rows)} prompts from {self.origin}; rounds of {made.every} steps: {answers}"
            f"{data[made.from_data]}, judged by {' + '.join(made.judges.specs)}, pairs by {made.pairing}, reference: "
            f"{made.reference}"
        )

    def check_run(self, medium: str, steps: int, guard: str) -> None:
        """Raises ConfigError where these rounds do not fit the run."""
        self.settings.check_run(medium, steps, guard)

    def begin_round(self, number: int, needed: Sequence[int], context: RoundContext) -> Sequence[Pair]:
        """Answers the prompts of the round, has the answers judged, and forms pairs; what exists already is read.

        Raises:
            RunError: A state of the policy is missing or damaged, or the disk is full.
            DataError: A judge gives no number.
        """
        before, after = BORDERS[self.settings.border]
        if context.at_border:
            before(number, self.settings.momentum, context)
        items = self._answers(number, sorted({index // self.together for index in needed}), context)
        if context.at_border:
            after(number, self.settings.momentum, context)
        judged = self.settings.judges.judge(list(items.values()), number, context)
        self._set_reference(number, context)
        made = self.settings
        formed = {
            place: form_pairs(item, one, made.pairing, made.places, made.choice, _draw(context, item.row, number))
            for (place, item), one in zip(items.items(), judged, strict=True)
        }
        return [pair for place, row in enumerate(self.rows) for pair in formed.get(place) or self._waiting(row)]

    def _answers(self, number: int, places: Sequence[int], context: RoundContext) -> dict[int, PromptAnswers]:
        """Returns the answers to the prompts at these places."""
        made, pool = self.settings, self._pool(context)
        # After a resume in the middle of the round the entry exists, and the policy has changed since.
        if context.processes.is_main and number not in pool.indices():
            pool.add(number, context.policy.state())
        context.processes.wait()
        folder = context.folder / "samples"
        if context.processes.is_main:
            remove_rounds(folder, before=number - 1)
        entries = sampler_entries(made.samplers, made.answers, number, context.seed)
        samples = RoundSamples(str(folder / f"round-{number:06d}"), number, entries, made.batch, made.sampling)
        rows = [self.rows[place] for place in places]
        own = samples.make(rows, pool, context)
        return {
            place: PromptAnswers(row, (*answers, *data_answers(row, made.from_data)), made.answers)
            for place, row, answers in zip(places, rows, own, strict=True)
        }

    def _set_reference(self, number: int, context: RoundContext) -> None:
        made = self.settings
        entry = reference_entry(made.reference, made.samplers, number, context.seed)
        context.policy.set_reference(None if entry is None else self._pool(context).load(entry))

    def _waiting(self, row: Pair) -> list[Pair]:
        made = self.settings
        tokens = int(made.sampling.get("max_new_tokens", 1))
        answers: list[Media] = [ToSample(k, tokens) for k in range(made.answers)]
        answers += data_answers(row, made.from_data)
        return waiting_pairs(row, answers, made.pairing, made.places, made.judges.specs)

    @staticmethod
    def _pool(context: RoundContext) -> CheckpointPool:
        return CheckpointPool(context.folder / "pool")


def _draw(context: RoundContext, row: Pair, number: int) -> np.random.Generator:
    return stream(context.seed, row.id, number, "pairing")


def rounds(
    data: DatasetPairs,
    *,
    judge: str | list[str],
    every: int = 30,
    answers: int = 4,
    from_data: str = "none",
    sampler: str | list[str] = "policy",
    reference: str = "initial",
    border: str = "plain",
    momentum: float = 0.3,
    pairing: str = "best_worst",
    by: By = "auto",
    weights: dict[str, float] | None = None,
    normalise: Normalise = "z-score",
    gap: float = 0.0,
    threshold: float | None = None,
    beta: float = 0.5,
    keep: int = 8,
    batch: int = 8,
    **sampling: Any,
) -> PairSource:
    """``pairs: rounds``: in each round the policy answers prompts, judges rank the answers, and pairs are formed.

    Args:
        data: Rows whose prompts are answered, each prompt once.
        judge: A scorer, several whose normalised scores are added, or ``label``: the data's own label.
        every: Optimizer steps per round, >= 1.
        answers: Samples of each prompt; 0 takes the data's answers only.
        from_data: Answers of the data that join them: ``none``, the ``chosen`` one (a teacher's), or ``both``.
        sampler: Who answers: the ``policy`` at the round's beginning, the ``initial`` model, or a ``random`` one of the
            policy's states; of several each gives an answer in turn.
        reference: ``initial``: the model that training began with; ``previous``: the policy at the round's beginning;
            ``sampler``: the (first) one who answered.
        border: Between two rounds: ``plain``; ``momentum``: the policy is moved on in the direction of its last round;
            ``extragradient``: rounds are pairs of phases, of which the second begins where the first began.
        momentum: For ``momentum``: how far, 0 or more and below 1.
        pairing: Which answers are compared: ``best_worst``, ``all``, ``threshold``, ``rejection``, ``tournament``,
            ``list`` (all of them, for losses on lists) or ``best_only`` (for losses on single examples).
        by: ``scores``, ``comparisons`` of every two answers, or ``auto``: what the judge gives.
        weights: Of several judges, by name; 1 for the others.
        normalise: ``z-score`` or ``min-max``, over the answers of a round, for several judges.
        gap: Smallest difference of a pair's scores (or win rates), 0 or more; a tie is never a pair.
        threshold: For ``threshold``: what a good answer has at least.
        beta: For ``rejection``: the temperature, in the scores' unit.
        keep: For ``rejection``: answers that are kept.
        batch: Samples made at once, >= 1.
        sampling: Sampling settings of the model's kind, which a recipe checks and completes.

    Raises:
        ConfigError: A setting is out of its range, or settings do not fit together.
        UserError: There is no scorer of a judge's name.
    """
    judges = RoundJudges(_listed(judge), by, weights or {}, normalise, pairing == "tournament")
    choice = PairingSettings(gap, threshold, beta, keep)
    settings = RoundSettings(
        every,
        answers,
        from_data,
        _listed(sampler),
        reference,
        judges,
        border,
        momentum,
        pairing,
        choice,
        batch,
        sampling,
    )
    return JudgedRounds(_rows(data, settings), settings, data.origin)


def _rows(data: DatasetPairs, settings: RoundSettings) -> Sequence[Pair]:
    """Returns the rows whose prompts are answered: the first of each prompt, or all where their answers take part."""
    if settings.from_data == "none":
        first = dict[str, Pair]()
        for row in data.pairs:
            first.setdefault(str(row.prompt), row)
        return list(first.values())
    for row in data.pairs:
        if len(data_answers(row, settings.from_data)) < FROM_DATA[settings.from_data] or isinstance(
            row.chosen, ToSample
        ):
            raise ConfigError(
                f"pairs.from_data is {settings.from_data}, but {row.source or row.id} lacks such answers. Type: --set "
                f"pairs.from_data={'none' if isinstance(row.chosen, ToSample) else 'chosen'}"
            )
    return data.pairs


def _listed(names: str | list[str]) -> tuple[str, ...]:
    return (names,) if isinstance(names, str) else tuple(names)
