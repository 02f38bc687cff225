"""The memory that the policy's forward passes of one micro-batch keep for the backward pass, before training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from diffalign.data.records.pair import Pair
from diffalign.devices.activation_memory import activation_bytes
from diffalign.policies.module_utils import unwrap
from diffalign.policies.policy import Policy, SupportsTrialForward
from diffalign.policies.stages import SupportsStages
from diffalign.training.setup.batch_schedule import BatchSchedule
from diffalign.training.setup.bind_recipe import BoundRecipe
from diffalign.training.setup.open_accelerator_and_policy import OpenedModel


class NoTrial(Exception):
    """The policy has no pass that can be followed."""


def passes_per_update(model: OpenedModel, schedule: BatchSchedule) -> int:
    """Returns how many forward passes of a micro-batch are kept for one backward pass."""
    return schedule.draws * (1 if model.fast_slow is None else 2)


def update_activations(
    accelerator: Any, model: OpenedModel, bound: BoundRecipe, schedule: BatchSchedule, count: int
) -> tuple[int, int]:
    """Returns how many pairs a micro-batch of ``count`` has, fewer only in a small batch, and the bytes of their
    activations.

    Passes without a gradient, of a reference or an inversion, keep nothing and are not added. Of texts the longest
    pairs of the first step are taken; an answer that is sampled later is taken to be as long as the chosen one.

    Raises:
        NoTrial: The policy cannot be followed.
        Exception: As :func:`~diffalign.devices.activation_memory.activation_bytes`.
    """
    policy = model.policy
    if not isinstance(policy, SupportsTrialForward):
        raise NoTrial
    pairs = _longest_pairs(policy, bound, schedule, count)
    forward = policy.trial_forward(pairs, bound.loss.needs)
    device = policy.residency.device if isinstance(policy, SupportsStages) else None
    kept = activation_bytes(unwrap(policy.module), forward, accelerator.autocast(), device)
    return len(pairs), passes_per_update(model, schedule) * kept


def _longest_pairs(policy: Policy, bound: BoundRecipe, schedule: BatchSchedule, count: int) -> Sequence[Pair]:
    """Returns the last pairs of the first step in the order of micro-batches, where long texts come last."""
    batch = [bound.source.pairs[index] for index, _ in schedule.order.batch(0)]
    if bound.source.every:
        batch = [pair if pair.rejected is not None else replace(pair, rejected=pair.chosen) for pair in batch]
    return [batch[k] for k in policy.microbatch_order(batch)][-count:]
