"""Chosen candidates against samples of an earlier checkpoint, which the reference makes round by round.

Round n begins by adding the policy's state to the pool as entry n. One of the entries 0..n becomes the reference. It
answers the prompt of every pair that the round trains on, and its sample is the pair's rejected candidate.

Sources: SePPO, Zhang et al. 2024 (arXiv 2410.05255), algorithm 1, with ``select="uniform"``. With ``"latest"`` the
source is that of SPIN-Diffusion (Yuan et al. 2024, arXiv 2402.10210), with ``"initial"`` that of a fixed self-play.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from diffalign.data.records.pair import Pair
from diffalign.data.storage.cached_candidate import CachedCandidate
from diffalign.data.storage.tensor_cache import TensorCache, remove_caches
from diffalign.errors import ConfigError, near_miss
from diffalign.pairs.checkpoint_pool import SELECTIONS, CheckpointPool, select
from diffalign.pairs.dataset import DatasetPairs
from diffalign.pairs.make_reference_samples import SampleRequest, make_samples
from diffalign.pairs.roundtrip_winners import BOTH, NONE, SAMPLES, check_roundtrip, roundtrip_winners
from diffalign.pairs.source import PairSource, RoundContext
from diffalign.pairs.winners import WinnerPairs, winners

SEEDS = ("round", "checkpoint")


@dataclass(frozen=True)
class CheckpointPairs:
    """Pairs whose rejected candidates are samples of an earlier checkpoint.

    Args:
        winners: The chosen candidates.
        every: Optimizer steps per round, >= 1.
        select: Which earlier checkpoint: a name in :data:`~diffalign.pairs.checkpoint_pool.SELECTIONS`.
        seeds: ``"round"``: new samples in every round. ``"checkpoint"``: a checkpoint always gives a pair the same
            sample, so a checkpoint that is chosen again reuses its samples.
        batch: Samples made at once.
        sampling: The settings of :meth:`~diffalign.policies.policy.Policy.make_candidates`.
    """

    winners: WinnerPairs
    every: int
    select: str
    seeds: str
    batch: int
    sampling: Mapping[str, Any]

    @property
    def pairs(self) -> Sequence[Pair]:
        """The chosen candidates, without rejected ones."""
        return self.winners.pairs

    def __len__(self) -> int:
        return len(self.winners)

    @property
    def together(self) -> int:
        """1: each pair is by itself."""
        return 1

    def summary(self) -> str:
        """Returns one line: how many winners, how many prompts, and where the rejected candidates come from."""
        trip = {SAMPLES: ", decoded and encoded", BOTH: ", decoded and encoded as the winners are"}
        trip_of_samples = trip.get(self.sampling.get("roundtrip", NONE), "")
        rejected = f"samples of an earlier checkpoint ({self.select}), new every {self.every} steps{trip_of_samples}"
        return f"{self.winners.summary()}; rejected: {rejected}"

    def begin_round(self, number: int, needed: Sequence[int], context: RoundContext) -> Sequence[Pair]:
        """Chooses the round's reference, gives it to the policy, and makes the samples that do not exist yet.

        Raises:
            RunError: An earlier checkpoint is missing or damaged, or the disk is full.
        """
        pool = CheckpointPool(context.folder / "pool")
        # After a resume in the middle of the round the entry exists, and the policy has changed since.
        if context.processes.is_main and number not in pool.indices():
            pool.add(number, context.policy.state())
        context.processes.wait()
        entry = select(self.select, number, context.seed)
        context.policy.set_reference(pool.load(entry))
        folder = context.folder / "samples"
        if context.processes.is_main and self.seeds == "round":
            remove_rounds(folder, before=number - 1)
        visit = number if self.seeds == "round" else entry
        cache = TensorCache(folder / f"{self.seeds}-{visit:06d}", self._maker(context, pool.digest(entry)))
        requests = [SampleRequest.for_pair(self.pairs[index], context.seed, visit) for index in needed]
        label = f"sample pairs (round {number}, by checkpoint {entry})"
        samples = make_samples(requests, cache, context, label, batch=self.batch, sampling=self.sampling)
        rejected = dict(zip(needed, samples, strict=True))
        chosen: dict[str, CachedCandidate] = {}
        if self.sampling.get("roundtrip") == BOTH:
            again = [self.pairs[index] for index in needed]
            chosen = roundtrip_winners(again, context.folder / "winners", context, batch=self.batch)
        return [
            replace(pair, rejected=rejected[i], chosen=chosen.get(pair.id, pair.chosen)) if i in rejected else pair
            for i, pair in enumerate(self.pairs)
        ]

    def _maker(self, context: RoundContext, weights: str) -> str:
        """Returns the identity of all that decides a sample besides the pair. A sample does not depend on its batch."""
        settings = " ".join(f"{name}={value}" for name, value in sorted(self.sampling.items()))
        return f"samples of {context.policy.fingerprint()} with {weights}, {settings}"


def checkpoint(
    data: DatasetPairs,
    *,
    every: int = 30,
    select: str = "uniform",
    batch: int = 8,
    seeds: str = "round",
    **sampling: Any,
) -> PairSource:
    """``pairs: checkpoint``: the chosen candidates of a dataset against samples of an earlier checkpoint.

    Args:
        data: Pairs, whose rejected candidates are ignored, or rows with only a chosen candidate.
        every: Optimizer steps per round, >= 1. The paper's 30.
        select: The round's reference: ``uniform`` among all earlier states, the ``initial`` one, or the ``latest``.
        batch: Samples made at once, >= 1.
        seeds: ``round``: new samples every round; ``checkpoint``: a checkpoint that is chosen again reuses its samples.
        sampling: Sampling settings of the model's kind, which a recipe checks and completes.

    Raises:
        ConfigError: A setting is out of its range, or samples would be decoded and encoded beside kept latents.
    """
    for name, number, default in (("every", every, 30), ("batch", batch, 8)):
        if isinstance(number, bool) or not isinstance(number, int) or number < 1:
            raise _invalid(name, number, "a whole number of at least 1", default)
    for name, value, choices in (("select", select, (*SELECTIONS,)), ("seeds", seeds, SEEDS)):
        if value not in choices:
            raise _invalid(name, value, f"one of {', '.join(choices)}", choices[0])
    chosen = winners(data)
    check_roundtrip(chosen.pairs, sampling.get("roundtrip", NONE))
    return CheckpointPairs(chosen, every, select, seeds, batch, sampling)


def _invalid(name: str, value: Any, expected: str, default: Any) -> ConfigError:
    near = near_miss(value, expected.removeprefix("one of ").split(", ")) if isinstance(value, str) else ""
    return ConfigError(
        f"pairs.{name} must be {expected}; got {value!r}.{near} For the usual value type: --set pairs.{name}={default}"
    )


def remove_rounds(samples: Path, before: int) -> None:
    """Removes the samples of earlier rounds. Those of the last round stay, because a resume may begin there."""
    for folder in samples.glob("round-*"):
        number = folder.name.removeprefix("round-")
        if number.isdigit() and int(number) < before:
            with suppress(OSError):
                remove_caches(folder)
