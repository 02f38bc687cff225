"""What training costs: seconds on this machine, and evaluations of the denoiser, which are the same on any.

The unit F is one forward pass on one latent; a backward pass costs two.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import torch

from diffalign.latents import LATENTS
from diffalign.policies.diffusion.scoring.forward_counts import ForwardCounts
from diffalign.sharing.atomic import write_atomically
from diffalign.training.loop import Result, train
from diffalign.training.recipe.bind import bind_loss, pair_settings
from diffalign.training.recipe.load import Recipe
from diffalign.training.recipe.model_kinds import model_kind
from diffalign.training.storage.checkpoint import complete_checkpoints
from diffalign.training.storage.run_folder import RunFolder

KINDS = tuple(field.name for field in fields(ForwardCounts))
LEVELS = 1000
"""Of the models that the recipes name."""


@dataclass(frozen=True)
class Cost:
    """Of one training.

    Args:
        seconds: Of the whole training, encoding and sampling included; nan when it is not known.
        pairs: Pairs seen in it, each as often as it was met.
        counted: Pairs over which it was counted: fewer than ``pairs`` after a resume, and ``seconds`` is scaled up.
        per_pair: Evaluations per pair by :data:`KINDS`, and ``forwards``, their sum in F.
    """

    seconds: float
    pairs: int
    counted: int
    per_pair: Mapping[str, float]

    @property
    def forwards(self) -> float:
        """F per pair."""
        return self.per_pair["forwards"]

    def summary(self) -> str:
        """Two lines."""
        kinds = ", ".join(f"{kind} {self.per_pair[kind]:.2f}" for kind in KINDS)
        rest = "" if self.counted == self.pairs else f" (counted over the last {self.counted:,}, after a resume)"
        return (
            f"training: {self.seconds:,.0f} s for {self.pairs:,} pairs{rest}\n"
            f"denoiser evaluations per pair: {kinds}; {self.forwards:.2f} F, where one with a gradient counts three"
        )


def train_counted(recipe: Recipe, note: Path) -> tuple[Result, Cost]:
    """Trains, or goes on with what a killed call began, and keeps what it cost in ``note``."""
    output = RunFolder(recipe.output)
    reached = [int(path.name.split("-")[1]) for path in complete_checkpoints(output.checkpoints)]
    start, started = max(reached, default=0), time.perf_counter()
    result = train(recipe, resume=output.recipe.exists())
    seconds = time.perf_counter() - started
    steps, batch = recipe.train.steps, recipe.train.batch_size
    counted = (steps - start) * batch
    if counted:
        count = result.policy.forward_counts.as_dict()  # type: ignore[attr-defined]
        cost = Cost(
            seconds * steps / (steps - start), steps * batch, counted, {k: n / counted for k, n in count.items()}
        )
        text = json.dumps(asdict(cost), indent=2) + "\n"
        write_atomically(note, lambda beside: beside.write_text(text, encoding="utf-8"))
    return result, read_cost(note, steps * batch)


def read_cost(note: Path, pairs: int) -> Cost:
    """What :func:`train_counted` kept; nan where a call was killed between the last step and the note."""
    if not note.is_file():
        return Cost(math.nan, pairs, 0, dict.fromkeys((*KINDS, "forwards"), math.nan))
    return Cost(**json.loads(note.read_text(encoding="utf-8")))


def expected_forwards(recipe: Recipe, size: int | None = None) -> float:
    """F per pair that a recipe is going to cost, before anything is counted.

        F = candidates (3 + [reference] + inversion) + sampling,      guidance above 1 doubles sampling

    A pair that a round meets again is not sampled again: where a round is longer than the data set of ``size`` pairs,
    sampling costs the less. The inversion is a mean over the levels drawn. Pairs that a label silences cost less; a
    stored reference and kept latents, which cost nothing when they are met again, are counted as if live.
    """
    latents = recipe.model.latents
    bound = LATENTS[latents.name].bind(**latents.hyper)
    low, high = recipe.model.timesteps
    levels = torch.arange(low, high or LEVELS)
    inversion = (
        bound.estimator.forward_counts(levels, LEVELS, bound.settings).double().mean().item() if bound.needs_network else 0
    )
    candidates = 1 if recipe.pairs.name == "winners" else 2
    each = 3 + bind_loss(recipe.loss).needs_reference + inversion
    sampling = 0.0
    if recipe.pairs.name == "checkpoint":
        settings = pair_settings(recipe.pairs, model_kind(recipe.model).candidates())
        sampling = settings["steps"] * (2 if settings["guidance"] > 1 else 1)
        if size is not None:
            sampling *= min(1.0, size / (settings["every"] * recipe.train.batch_size))
    return candidates * each + sampling
