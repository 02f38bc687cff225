"""How batches are cut and how often each pair is drawn, as a recipe, its loss and its policy require."""

from __future__ import annotations

from dataclasses import dataclass

from diffalign.errors import ConfigError
from diffalign.losses import Objective
from diffalign.policies.policy import Policy
from diffalign.training.recipe.schema import Train
from diffalign.training.setup.bind_recipe import BoundRecipe
from diffalign.training.step.batch_order import BatchOrder

DEFAULT_MICRO_BATCH = 8
"""Pairs in memory at once where the recipe names no number."""


@dataclass(frozen=True)
class BatchSchedule:
    """The order of batches, and how each is computed.

    Args:
        order: Which pairs each step sees.
        micro_batch: Pairs in memory at once.
        draws: Draws per pair; log-probabilities are means over them.
    """

    order: BatchOrder
    micro_batch: int
    draws: int


def schedule_batches(train: Train, bound: BoundRecipe, policy: Policy, processes: int) -> BatchSchedule:
    """Returns the schedule of a run.

    Raises:
        ConfigError: The loss compares all pairs of a batch, and they are not in memory together.
    """
    order = BatchOrder(len(bound.source), train.batch_size, train.seed)
    micro_batch = _micro_batch(train, bound.loss, processes)
    draws = train.draws_per_pair or (2 if bound.loss.is_quadratic and policy.eval_draws > 1 else 1)
    return BatchSchedule(order, micro_batch, draws)


def _micro_batch(train: Train, loss: Objective, processes: int) -> int:
    if not loss.needs_whole_batch:
        return train.micro_batch_size or min(DEFAULT_MICRO_BATCH, -(-train.batch_size // processes))
    whole = train.batch_size
    if processes > 1 or (train.micro_batch_size or whole) < whole:
        raise ConfigError(
            f"the loss '{loss.name}' compares the pairs of a batch with each other, so one process must hold all "
            f"{whole} at once. Type: --set train.micro_batch_size={whole}, with one process, or a smaller batch_size"
        )
    return whole
