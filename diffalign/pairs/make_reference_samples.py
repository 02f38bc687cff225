"""Samples of the reference for the pairs of a round: each is made once, by one of the processes, and kept on disk."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
    first, end = (len(requests) * part // context.processes for part in (context.rank, context.rank + 1))
    own_requests = {request.key: request for request in requests[first:end]}
    missing = [own_requests[key] for key in cache.missing(own_requests)]
    context.progress(label, len(own_requests) - len(missing), len(own_requests))
    with context.policy.sampling() if missing else nullcontext():
        while missing:
            current, missing = missing[:batch], missing[batch:]
            context.policy.make_candidates(
                [request.prompt for request in current],
                [request.seed for request in current],
                cache,
                [request.key for request in current],
                reference=True,
                batch=batch,
                **sampling,
            )
            context.progress(label, len(own_requests) - len(missing), len(own_requests))
    context.wait()
    if lost := cache.missing(request.key for request in requests):
        raise RunError(
            f"{len(lost)} of {len(requests)} samples are not in '{cache.root}' although every process has made its "
            "part: they must all see the same output folder. Put it on a shared disk and resume with --resume."
        )
    return [CachedCandidate(str(cache.root), cache.maker, request.key) for request in requests]
