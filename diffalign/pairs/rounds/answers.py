"""The answers of a round: samples of the policy's states, and answers of the data, prompt by prompt."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from diffalign.data.media.decode import media_digest
from diffalign.data.records.pair import Media, Pair
from diffalign.data.storage.cached_candidate import CachedCandidate
from diffalign.data.storage.tensor_cache import TensorCache, content_key
from diffalign.pairs.checkpoint_pool import CheckpointPool
from diffalign.pairs.make_reference_samples import SampleRequest, make_samples
from diffalign.pairs.source import RoundContext
from diffalign.randomness import stream

FROM_DATA = {"none": 0, "chosen": 1, "both": 2}
"""Which answers of the data join the samples, and how many those are."""


@dataclass(frozen=True)
class PromptAnswers:
    """A prompt with its answers in a round.

    Args:
        row: The row of the data that it comes from.
        answers: The samples of the policy, then the answers of the data.
        own: How many of them are samples of the policy.
        further: Further samples by role, which are not judged.
    """

    row: Pair
    answers: tuple[Media, ...]
    own: int
    further: Mapping[str, Media] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """A digest of the prompt and of every answer."""
        return content_key(media_digest(self.row.prompt), *map(media_digest, self.answers))


def data_answers(row: Pair, from_data: str) -> tuple[Media, ...]:
    """Returns the answers of a row that join the samples: none, its chosen one, or both."""
    both = (row.chosen,) if row.rejected is None else (row.chosen, row.rejected)
    return both[: FROM_DATA[from_data]]


@dataclass(frozen=True)
class RoundSamples:
    """The samples of one round.

    Args:
        folder: Where they are kept.
        number: The round.
        entries: The entry of the pool that gives each sample of a prompt, by the sample's name.
        batch: Samples made at once.
        sampling: Further settings of :meth:`~diffalign.policies.policy.Policy.make_candidates`.
    """

    folder: str
    number: int
    entries: Mapping[str, int]
    batch: int
    sampling: Mapping[str, Any]

    def make(
        self, rows: Sequence[Pair], pool: CheckpointPool, context: RoundContext
    ) -> list[dict[str, CachedCandidate]]:
        """Returns the samples of each row by name, after making those that do not exist yet. A sample depends on the
        row, the round and its name, not on the other rows of the round.

        Args:
            rows: The rows whose prompts are answered.
            pool: The policy's states.
            context: Policy and seed. The policy's reference is changed.
        """
        made: list[dict[str, CachedCandidate]] = [{} for _ in rows]
        for entry in dict.fromkeys(self.entries.values()):
            cache = TensorCache(self.folder, self._maker(context, pool.digest(entry)))
            places = [(i, name) for i in range(len(rows)) for name, giver in self.entries.items() if giver == entry]
            requests = [self._request(rows[i], context.seed, name) for i, name in places]
            context.processes.wait()  # before any is made, all see the same
            if cache.missing(request.key for request in requests):
                context.policy.set_reference(pool.load(entry))
            who = "the initial model" if entry == 0 else f"checkpoint {entry}"
            label = f"sample answers (round {self.number}, by {who})"
            samples = make_samples(requests, cache, context, label, batch=self.batch, sampling=self.sampling)
            for (i, name), sample in zip(places, samples, strict=True):
                made[i][name] = sample
        return made

    def _request(self, row: Pair, run_seed: int, name: str) -> SampleRequest:
        seed = int(stream(run_seed, row.id, self.number, f"answer {name}").integers(0, 2**31))
        return SampleRequest(row.prompt, seed, content_key(row.id, row.prompt, seed))

    def _maker(self, context: RoundContext, weights: str) -> str:
        """Returns the identity of all that decides a sample besides its prompt and seed."""
        settings = " ".join(f"{name}={value}" for name, value in sorted(self.sampling.items()))
        return f"answers of {context.policy.fingerprint()} with {weights}, {settings}"
