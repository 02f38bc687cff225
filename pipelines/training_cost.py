"""Cost of a training: seconds, which depend on the machine, and evaluations of the denoiser, which do not.

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

from diffalign.files.atomic import write_atomically
from diffalign.latents import LATENTS
from diffalign.policies.diffusion.scoring.forward_counts import ForwardCounts
from diffalign.training.loop import Result, train
from diffalign.training.recipe.bind import bind_label, bind_loss, pair_settings
from diffalign.training.recipe.load import Recipe
from diffalign.training.recipe.model_kinds import model_kind
from diffalign.training.storage.checkpoint_folder import complete_checkpoints
from diffalign.training.storage.run_folder import RunFolder

COUNT_NAMES = tuple(field.name for field in fields(ForwardCounts))
LEVELS = 1000
"""Number of noise levels of the models in the recipes."""


@dataclass(frozen=True)
class TrainingCost:
    """The cost of one training.

    Args:
        seconds: Duration of the training, with encoding and sampling; nan if unknown.
        pairs: Pairs seen in the training, with repetitions.
        counted: Pairs over which the cost was counted; fewer than ``pairs`` after a resume, and ``seconds`` is scaled.
        per_pair: Evaluations per pair by :data:`COUNT_NAMES`, and ``forwards``, their sum in F.
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
        """Returns two lines."""
        counts = ", ".join(f"{name} {self.per_pair[name]:.2f}" for name in COUNT_NAMES)
        rest = "" if self.counted == self.pairs else f" (counted over the last {self.counted:,}, after a resume)"
        return (
            f"training: {self.seconds:,.0f} s for {self.pairs:,} pairs{rest}\n"
            f"denoiser evaluations per pair: {counts}; {self.forwards:.2f} F, where one with a gradient counts three"
        )


def train_with_cost(recipe: Recipe, cost_file: Path) -> tuple[Result, TrainingCost]:
    """Trains, or resumes an interrupted training, and writes its cost to ``cost_file``."""
    output = RunFolder(recipe.output)
    checkpoint_steps = [int(path.name.split("-")[1]) for path in complete_checkpoints(output.checkpoints)]
    start, started = max(checkpoint_steps, default=0), time.perf_counter()
    result = train(recipe, resume=output.recipe.exists())
    seconds = time.perf_counter() - started
    steps, batch = recipe.train.steps, recipe.train.batch_size
    counted = (steps - start) * batch
    if counted:
        counts = result.policy.forward_counts.as_dict()  # type: ignore[attr-defined]
        cost = TrainingCost(
            seconds=seconds * steps / (steps - start),
            pairs=steps * batch,
            counted=counted,
            per_pair={name: count / counted for name, count in counts.items()},
        )
        text = json.dumps(asdict(cost), indent=2) + "\n"
        write_atomically(cost_file, lambda temporary: temporary.write_text(text, encoding="utf-8"))
    return result, read_cost(cost_file, steps * batch)


def read_cost(cost_file: Path, pairs: int) -> TrainingCost:
    """Reads what :func:`train_with_cost` wrote; nan if a call was killed between the last step and that."""
    if not cost_file.is_file():
        return TrainingCost(math.nan, pairs, 0, dict.fromkeys((*COUNT_NAMES, "forwards"), math.nan))
    stored = json.loads(cost_file.read_text(encoding="utf-8"))
    per_pair = {**dict.fromkeys(COUNT_NAMES, 0.0), **stored["per_pair"]}  # earlier versions counted fewer purposes
    return TrainingCost(**{**stored, "per_pair": per_pair})


def expected_forwards(recipe: Recipe, size: int | None = None) -> float:
    """Computes the expected F per pair of a recipe, without training.

        F = candidates (3 + [reference] + inversion) + sampling + (noises - 1)(2 + inversion)

    Guidance above 1 doubles sampling; ``noises`` are those of a gate that votes on several. A round samples each pair
    once, so sampling costs less if a round is longer than the data set of ``size`` pairs. The inversion is a mean over
    the levels drawn. Pairs without gradient cost less than computed here, and a stored reference and cached latents are
    counted as if they were computed at every visit.
    """
    latents = recipe.model.latents
    bound = LATENTS[latents.name].bind(**latents.hyper)
    low, high = recipe.model.level_range
    levels = torch.tensor(recipe.model.level_list or range(low, high or LEVELS))
    inversion = (
        bound.estimator.forward_counts(levels, LEVELS, bound.settings).double().mean().item()
        if bound.needs_network
        else 0
    )
    candidates = 1 if recipe.pairs.name == "winners" else 2
    per_candidate = 3 + bind_loss(recipe.loss).needs_reference + inversion
    sampling = 0.0
    if recipe.pairs.name == "checkpoint":
        settings = pair_settings(recipe.pairs, model_kind(recipe.model).candidates())
        sampling = settings["steps"] * (2 if settings["guidance"] > 1 else 1)
        if size is not None:
            sampling *= min(1.0, size / (settings["every"] * recipe.train.batch_size))
    votes = (bind_label(recipe.labels)([]).gate_noises - 1) * (2 + inversion)
    return candidates * per_candidate + sampling + votes
