"""Winners against samples of an earlier checkpoint: the losers are made, round by round, by the reference itself.

Round n begins with putting the policy's state into the pool as entry n. One of the entries 0..n becomes the reference;
it answers the prompt of every winner that the round will meet, and what it makes is the winner's rejected candidate.

Sources: SePPO, Zhang et al. 2024 (arXiv 2410.05255), algorithm 1, with ``select="uniform"``. With ``"latest"`` the
source is that of SPIN-Diffusion (Yuan et al. 2024, arXiv 2402.10210), with ``"initial"`` that of a fixed self-play.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from diffalign.data.records.pair import Pair
from diffalign.data.storage.tensor_cache import TensorCache
from diffalign.errors import ConfigError, near_miss
from diffalign.pairs.checkpoint_pool import SELECTIONS, CheckpointPool, select
from diffalign.pairs.dataset import DatasetPairs
from diffalign.pairs.reference_samples import Task, make_samples
from diffalign.pairs.source import PairSource, Stage
from diffalign.pairs.winners import WinnerPairs, winners

SEEDS = ("round", "checkpoint")


@dataclass(frozen=True)
class CheckpointPairs:
    """Winners whose rejected candidates are samples of an earlier checkpoint.

    Args:
        winners: The chosen candidates.
        every: Optimizer steps per round, >= 1.
        select: Which earlier checkpoint: a name in :data:`~diffalign.pairs.checkpoint_pool.SELECTIONS`.
        seeds: ``"round"``: new samples in every round. ``"checkpoint"``: a checkpoint always answers a pair alike, so
            that one which is chosen again does not sample anew what it has made already.
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
        """The winners."""
        return self.winners.pairs

    def __len__(self) -> int:
        return len(self.winners)

    def summary(self) -> str:
        """One line: how many winners, how many prompts, and where the losers come from."""
        rejected = f"samples of an earlier checkpoint ({self.select}), anew every {self.every} steps"
        return f"{self.winners.summary()}; rejected: {rejected}"

    def begin(self, number: int, wanted: Sequence[int], stage: Stage) -> Sequence[Pair]:
        """Chooses the round's reference, hands it to the policy, and samples what is not sampled yet.

        Raises:
            RunError: An earlier checkpoint is missing or damaged, or the disk is full.
        """
        pool = CheckpointPool(stage.folder / "pool")
        # After a resume in the middle of the round the entry is there, and the policy is no longer what it was.
        if stage.rank == 0 and number not in pool.indices():
            pool.add(number, stage.policy.state())
        stage.wait()
        entry = select(self.select, number, stage.seed)
        stage.policy.set_reference(pool.load(entry))
        samples = stage.folder / "samples"
        if stage.rank == 0 and self.seeds == "round":
            _forget(samples, before=number - 1)
        visit = number if self.seeds == "round" else entry
        cache = TensorCache(samples / f"{self.seeds}-{visit:06d}", self._maker(stage, pool.digest(entry)))
        tasks = [Task.of(self.pairs[index], stage.seed, visit) for index in wanted]
        what = f"sample pairs (round {number}, by checkpoint {entry})"
        kept = make_samples(tasks, cache, stage, what, batch=self.batch, sampling=self.sampling)
        made = dict(zip(wanted, kept, strict=True))
        return [replace(pair, rejected=made[i]) if i in made else pair for i, pair in enumerate(self.pairs)]

    def _maker(self, stage: Stage, weights: str) -> str:
        """What decides the numbers besides the pair. Not the batch: a sample does not depend on its neighbours."""
        settings = " ".join(f"{name}={value}" for name, value in sorted(self.sampling.items()))
        return f"samples of {stage.policy.fingerprint()} with {weights}, {settings}"


def checkpoint(
    data: DatasetPairs,
    *,
    every: int = 30,
    select: str = "uniform",
    batch: int = 8,
    seeds: str = "round",
    **sampling: Any,
) -> PairSource:
    """The data set's winners against samples of an earlier checkpoint, ``pairs: checkpoint``. Losers are not used.

    Args:
        data: Pairs, or winners alone.
        every: Optimizer steps per round, >= 1. The paper's 30.
        select: The round's reference: ``uniform`` among all earlier states, the ``initial`` one, or the ``latest``.
        batch: Samples made at once, >= 1.
        seeds: ``round``: new samples every round; ``checkpoint``: the same from the same checkpoint, and not made anew.
        sampling: How the model samples: settings of its kind, which a recipe checks and completes.

    Raises:
        ConfigError: A setting is out of its range.
    """
    for name, number, default in (("every", every, 30), ("batch", batch, 8)):
        if isinstance(number, bool) or not isinstance(number, int) or number < 1:
            raise _wrong(name, number, "a whole number of at least 1", default)
    for name, given, known in (("select", select, (*SELECTIONS,)), ("seeds", seeds, SEEDS)):
        if given not in known:
            raise _wrong(name, given, f"one of {', '.join(known)}", known[0])
    return CheckpointPairs(winners(data), every, select, seeds, batch, sampling)


def _wrong(name: str, given: Any, expected: str, default: Any) -> ConfigError:
    near = near_miss(given, expected.removeprefix("one of ").split(", ")) if isinstance(given, str) else ""
    return ConfigError(
        f"pairs.{name} must be {expected}; got {given!r}.{near} For the usual value type: --set pairs.{name}={default}"
    )


def _forget(samples: Path, before: int) -> None:
    """Removes the samples of rounds that are over. Those of the last one stay: a resume may begin there."""
    for folder in samples.glob("round-*"):
        number = folder.name.removeprefix("round-")
        if number.isdigit() and int(number) < before:
            shutil.rmtree(folder, ignore_errors=True)
