"""Samples of the reference for the pairs of a round: each made once, by one of the processes, and kept on disk."""

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
from diffalign.pairs.source import Stage
from diffalign.randomness import stream


@dataclass(frozen=True)
class Task:
    """One sample to make: a function of the pair and the visit, whoever makes it, when, and beside which others.

    Args:
        prompt: What the sample answers.
        seed: Where its noise starts, in [0, 2^31).
        key: Its name in the cache. A digest: prompts and ids may hold anything.
    """

    prompt: Text
    seed: int
    key: str

    @classmethod
    def of(cls, pair: Pair, run_seed: int, visit: int) -> Task:
        """The sample that a pair gets at a visit: another visit is another seed."""
        seed = int(stream(run_seed, pair.id, visit, "sample").integers(0, 2**31))
        return cls(pair.prompt, seed, content_key(pair.id, pair.prompt, seed))


def make_samples(
    tasks: Sequence[Task], cache: TensorCache, stage: Stage, what: str, *, batch: int, sampling: Mapping[str, Any]
) -> list[CachedCandidate]:
    """Samples what the cache lacks, and returns handles on all of it, in the order of the tasks.

    Each process makes a contiguous part and then waits for the others. The policy is called for one batch at a time,
    which then is on the disk: a killed call loses one batch.

    Args:
        tasks: The same on all processes.
        cache: The same folder on all processes.
        stage: Whose policy samples, as its reference.
        what: What to call it while it goes on.
        batch: Samples made at once.
        sampling: Other settings of :meth:`~diffalign.policies.policy.Policy.make_candidates`.

    Raises:
        RunError: The disk is full, or the processes do not see the same folder.
    """
    first, end = (len(tasks) * part // stage.processes for part in (stage.rank, stage.rank + 1))
    mine = {task.key: task for task in tasks[first:end]}
    missing = [mine[key] for key in cache.missing(mine)]
    stage.progress(what, len(mine) - len(missing), len(mine))
    with stage.policy.sampling() if missing else nullcontext():
        while missing:
            now, missing = missing[:batch], missing[batch:]
            stage.policy.make_candidates(
                [task.prompt for task in now],
                [task.seed for task in now],
                cache,
                [task.key for task in now],
                reference=True,
                batch=batch,
                **sampling,
            )
            stage.progress(what, len(mine) - len(missing), len(mine))
    stage.wait()
    if lost := cache.missing(task.key for task in tasks):
        raise RunError(
            f"{len(lost)} of {len(tasks)} samples are not in '{cache.root}' although every process has made its part: "
            "they must all see the same output folder. Put it on a shared disk and go on with --resume."
        )
    return [CachedCandidate(str(cache.root), cache.maker, task.key) for task in tasks]
