"""How batches are cut and how often each pair is drawn, as a recipe, its loss and its policy require."""

from __future__ import annotations

from dataclasses import dataclass

from diffalign.errors import ConfigError
from diffalign.losses import Objective
from diffalign.policies.policy import Policy, SupportsTokenCounts
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
        tokens: Tokens of a micro-batch in the update, which then has as many pairs as they allow; None: no such limit.
    """

    order: BatchOrder
    micro_batch: int
    draws: int
    tokens: int | None = None


def schedule_batches(train: Train, bound: BoundRecipe, policy: Policy, processes: int) -> BatchSchedule:
    """Returns the schedule of a run.

    Raises:
        ConfigError: The loss compares all pairs of a batch, and they are not in memory together; or a batch is to be
            cut by tokens, and the policy's examples have none.
    """
    order = BatchOrder(len(bound.source), train.batch_size, train.seed, bound.source.together)
    micro_batch = _micro_batch(train, bound.loss, processes)
    if train.micro_batch_tokens is not None:
        micro_batch = _pairs_of_tokens(train.micro_batch_tokens, micro_batch, bound, policy, order)
    draws = train.draws_per_pair or (2 if bound.loss.is_quadratic and policy.eval_draws > 1 else 1)
    return BatchSchedule(order, micro_batch, draws, train.micro_batch_tokens)


def _pairs_of_tokens(tokens: int, most: int, bound: BoundRecipe, policy: Policy, order: BatchOrder) -> int:
    """Returns how many of the longest pairs of the first step fit into a micro-batch: the number of pairs at once
    outside of the update.
    """
    if bound.loss.needs_whole_batch or not isinstance(policy, SupportsTokenCounts):
        why = (
            f"the loss '{bound.loss.name}' needs all pairs of a batch at once"
            if bound.loss.needs_whole_batch
            else f"{policy.medium}s have no tokens"
        )
        raise ConfigError(
            f"train.micro_batch_tokens cuts a batch by tokens, but {why}. Type: --set train.micro_batch_tokens=null"
        )
    pairs = [bound.source.pairs[index] for index, _ in order.batch(0)]
    return max(1, min(most, tokens // max(policy.token_counts(pairs))))


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
