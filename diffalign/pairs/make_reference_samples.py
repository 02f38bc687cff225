"""Samples of the reference for the pairs of a round: each is made once, by one of the processes, and kept on disk."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

from diffalign.data.records.conversation import Text
from diffalign.data.records.pair import Pair
from diffalign.data.storage.cached_candidate import CachedCandidate
from diffalign.data.storage.tensor_cache import TensorCache, content_key
from diffalign.errors import RunError
from diffalign.pairs.source import RoundContext
from diffalign.randomness import stream


@dataclass(frozen=True)
class SampleRequest:
    """A sample to make. It depends only on the pair and the visit, not on process, time or batch.

    Args:
        prompt: The prompt of the sample.
        seed: Seed of its noise, in [0, 2^31).
        key: Its name in the cache. A digest, because prompts and ids may hold any characters.
    """

    prompt: Text
    seed: int
    key: str

    @classmethod
    def for_pair(cls, pair: Pair, run_seed: int, visit: int) -> SampleRequest:
        """Returns the request of a pair at a visit; each visit has its own seed."""
        seed = int(stream(run_seed, pair.id, visit, "sample").integers(0, 2**31))
        return cls(pair.prompt, seed, content_key(pair.id, pair.prompt, seed))


def make_samples(
    requests: Sequence[SampleRequest],
    cache: TensorCache,
    context: RoundContext,
    label: str,
    *,
    batch: int,
    sampling: Mapping[str, Any],
) -> list[CachedCandidate]:
    """Makes the samples that the cache lacks, and returns handles of all samples in the order of the requests.

    Each process makes a contiguous part and then waits for the others. Samples are stored batch by batch, so an
    interrupted call loses one batch.

    Args:
        requests: The same on all processes.
        cache: The same folder on all processes.
        context: Its policy samples, with its current reference.
        label: What progress reports call it.
        batch: Samples made at once.
        sampling: Further settings of :meth:`~diffalign.policies.policy.Policy.make_candidates`.

    Raises:
        RunError: The disk is full, or the processes do not see the same folder.
    """
    by_key = {request.key: request for request in requests}

    def make(keys: Sequence[str]) -> None:
        prompts, seeds = [by_key[key].prompt for key in keys], [by_key[key].seed for key in keys]
        context.policy.make_candidates(prompts, seeds, cache, keys, reference=True, batch=batch, **sampling)

    fill_cache([request.key for request in requests], cache, context, label, batch=batch, make=make)
    return [CachedCandidate(str(cache.root), cache.maker, request.key) for request in requests]


def fill_cache(
    keys: Sequence[str],
    cache: TensorCache,
    context: RoundContext,
    label: str,
    *,
    batch: int,
    make: Callable[[Sequence[str]], None],
) -> None:
    """Makes the entries that the cache lacks: each process a contiguous part, and then waits for the others.

    Args:
        keys: The same on all processes.
        cache, context, label: As in :func:`make_samples`.
        batch: Entries made at once.
        make: Makes and stores the entries of some keys.

    Raises:
        RunError: As :func:`make_samples`.
    """
    rank, count = context.processes.rank, context.processes.count
    first, end = (len(keys) * part // count for part in (rank, rank + 1))
    own = dict.fromkeys(keys[first:end])
    missing = cache.missing(own)
    context.progress(label, len(own) - len(missing), len(own))
    with context.policy.sampling() if missing else nullcontext():
        while missing:
            current, missing = missing[:batch], missing[batch:]
            make(current)
            context.progress(label, len(own) - len(missing), len(own))
    context.processes.wait()
    if lost := cache.missing(keys):
        raise RunError(
            f"{len(lost)} of {len(keys)} entries are not in '{cache.root}' although every process has made its "
            "part: they must all see the same output folder. Put it on a shared disk and resume with --resume."
        )
