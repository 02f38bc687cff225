"""Estimates the memory of a micro-batch's activations before training, for the header of a run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from diffalign.data.records.pair import Pair
from diffalign.devices.activation_memory import activation_bytes
from diffalign.devices.device_memory import format_bytes, module_bytes
from diffalign.policies.module_utils import unwrap
from diffalign.policies.policy import Policy, SupportsTrialForward
from diffalign.training.setup.batch_schedule import BatchSchedule
from diffalign.training.setup.bind_recipe import BoundRecipe
from diffalign.training.setup.open_accelerator_and_policy import OpenedModel

SMALL = 10**6
"""Bytes of weights below which nothing is estimated: following the pass would take longer than a training step."""


def estimate_activations(accelerator: Any, model: OpenedModel, bound: BoundRecipe, schedule: BatchSchedule) -> str:
    """Returns a phrase with the memory that the policy's forward passes of one micro-batch keep for the backward pass.

    Passes without a gradient, of a reference or an inversion, keep nothing and are not added. Of texts the longest
    pairs of the first step are taken; an answer that is sampled later is taken to be as long as the chosen one.
    """
    policy = model.policy
    if not accelerator.is_main_process:
        return "activations"
    network = unwrap(policy.module)
    if not isinstance(policy, SupportsTrialForward):
        return "activations (not estimated: this policy has no trial_forward)"
    if module_bytes(network) < SMALL:
        return "activations (not estimated for so small a model)"
    share = -(-schedule.order.batch_size // accelerator.num_processes)
    pairs = _longest_pairs(policy, bound, schedule, min(schedule.micro_batch, share))
    try:
        forward = policy.trial_forward(pairs, bound.loss.needs)
        kept = activation_bytes(network, forward, accelerator.autocast())
    except Exception as error:  # whatever an architecture does that cannot be followed, training may still do
        return f"activations (not estimated: the network cannot be followed without values, {type(error).__name__})"
    passes = schedule.draws * (1 if model.fast_slow is None else 2)
    times = f", {passes} passes" if passes > 1 else ""
    at_once = "1 pair" if len(pairs) == 1 else f"{len(pairs)} pairs"
    return f"about {format_bytes(passes * kept)} activations of {at_once} at once (estimated{times})"


def _longest_pairs(policy: Policy, bound: BoundRecipe, schedule: BatchSchedule, count: int) -> Sequence[Pair]:
    """Returns the last pairs of the first step in the order of micro-batches, where long texts come last."""
    batch = [bound.source.pairs[index] for index, _ in schedule.order.batch(0)]
    if bound.source.every:
        batch = [pair if pair.rejected is not None else replace(pair, rejected=pair.chosen) for pair in batch]
    return [batch[k] for k in policy.microbatch_order(batch)][-count:]
