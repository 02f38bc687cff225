"""The source ``pairs: rounds``: in each round the policy answers prompts, judges rank the answers, pairs are formed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from diffalign.data.records.pair import Media, Pair
from diffalign.data.records.to_sample import ToSample
from diffalign.pairs.checkpoint_pool import CheckpointPool
from diffalign.pairs.checkpoint_samples import remove_rounds
from diffalign.pairs.rounds.answers import PromptAnswers, RoundSamples, data_answers
from diffalign.pairs.rounds.borders import BORDERS
from diffalign.pairs.rounds.form_pairs import form_pairs, waiting_pairs
from diffalign.pairs.rounds.mix import KeptPlaces, mix
from diffalign.pairs.rounds.settings import RoundSettings
from diffalign.pairs.rounds.who import reference_entry, sampler_entries
from diffalign.pairs.source import RoundContext
from diffalign.randomness import stream


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
        self._keep_policy(number, context)
        prompts = sorted({index // self.together for index in needed})
        formed = self._formed(number, prompts, context)
        if context.at_border:
            after(number, self.settings.momentum, context)
        earlier = self._earlier(number, prompts, context)
        self._set_reference(number, context)
        mixed = {
            place: mix(pairs, self.rows[place], number, context.seed, self.settings.offline, earlier)
            for place, pairs in formed.items()
        }
        return [pair for place, row in enumerate(self.rows) for pair in mixed.get(place) or self._waiting(row)]

    def _keep_policy(self, number: int, context: RoundContext) -> None:
        """Puts the policy into the pool, and removes what no later round reads."""
        # After a resume in the middle of the round the entry exists, and the policy has changed since.
        pool, read = self._pool(context), 2 if self.settings.replay else 1
        if context.processes.is_main:
            if number not in pool.indices():
                pool.add(number, context.policy.state())
            remove_rounds(context.folder / "samples", before=number - read)
            if "random" not in (*self.settings.samplers, *self.settings.further.values()):
                pool.keep_only([0, *range(number - read, number + 1)])
        context.processes.wait()

    def _formed(self, number: int, places: Sequence[int], context: RoundContext) -> dict[int, list[Pair]]:
        """Returns the pairs of the prompts at these places, from answers and judgements that are made or read."""
        made, rows = self.settings, [self.rows[place] for place in places]
        entries = sampler_entries(made.samplers, made.answers, made.further, number, context.seed)
        folder = str(context.folder / "samples" / f"round-{number:06d}")
        samples = RoundSamples(folder, number, entries, made.batch, made.sampling).make(
            rows, self._pool(context), context
        )
        items = [
            PromptAnswers(
                row,
                (*(own[str(k)] for k in range(made.answers)), *data_answers(row, made.from_data)),
                made.answers,
                {role: own[role] for role in made.further},
            )
            for row, own in zip(rows, samples, strict=True)
        ]
        judged = made.judges.judge(items, number, context)
        return {
            place: form_pairs(item, one, made.pairing, made.places, made.choice, _draw(context, item.row, number))
            for place, item, one in zip(places, items, judged, strict=True)
        }

    def _earlier(self, number: int, places: Sequence[int], context: RoundContext) -> list[tuple[float, list[Pair]]]:
        """Returns the shares of earlier rounds and their pairs, where some are replayed."""
        if not self.settings.replay:
            return []
        kept = KeptPlaces(context.folder / "places")
        if context.processes.is_main:
            kept.write(number, places)
        context.processes.wait()
        shares = {number - 1: self.settings.replay, number - 2: self.settings.replay / 2}
        rounds = {earlier: kept.read(earlier) for earlier in shares if earlier >= 0}
        formed = {earlier: self._formed(earlier, prompts, context).values() for earlier, prompts in rounds.items()}
        return [
            (shares[one], [pair for row in rows for pair in row if not pair.silent]) for one, rows in formed.items()
        ]

    def _set_reference(self, number: int, context: RoundContext) -> None:
        made = self.settings
        entry = reference_entry(made.reference, made.samplers, number, context.seed)
        context.policy.set_reference(None if entry is None else self._pool(context).load(entry))

    def _waiting(self, row: Pair) -> list[Pair]:
        made = self.settings
        tokens = int(made.sampling.get("max_new_tokens", 1))
        answers: list[Media] = [ToSample(k, tokens) for k in range(made.answers)]
        answers += data_answers(row, "both" if made.offline else made.from_data)
        further = {role: ToSample(made.answers + k, tokens) for k, role in enumerate(made.further)}
        return waiting_pairs(row, answers, further, made.pairing, made.places, made.judges.specs)

    @staticmethod
    def _pool(context: RoundContext) -> CheckpointPool:
        return CheckpointPool(context.folder / "pool")


def _draw(context: RoundContext, row: Pair, number: int) -> np.random.Generator:
    return stream(context.seed, row.id, number, "pairing")
