"""Scoring: what policy and reference say of a micro-batch, as a loss reads it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from diffalign.data.records import Pair
from diffalign.latents.draws import Draw
from diffalign.losses import BoundLoss, PairScores
from diffalign.policies.policy import Policy, Scored
from diffalign.training.order import Visit


class Scoring(Protocol):
    """What scoring needs to know of a run."""

    accelerator: Any
    policy: Policy
    loss: BoundLoss
    seed: int
    micro_batch_size: int


def arranged(policy: Policy, pairs: Sequence[Pair], visits: Sequence[Visit]) -> list[Visit]:
    """The visits of a batch in the order in which the policy wants them cut into micro-batches."""
    return [visits[k] for k in policy.arrange([pairs[index] for index, _ in visits])]


def score_pairs(
    run: Scoring, pairs: Sequence[Pair], visits: Sequence[int], point: Tensor | None = None
) -> tuple[PairScores, dict[str, Tensor]]:
    """Scores of a micro-batch under policy and, where the loss needs it, reference; with the policy's diagnostics.

    Args:
        run: Policy, loss, precision and seed.
        pairs: The micro-batch.
        visits: How often each of its pairs has been seen.
        point: The batch's reference point, where the loss needs one.
    """
    row = run.loss.loss
    draw = Draw(run.seed, tuple(pair.id for pair in pairs), tuple(visits))
    encoded = run.policy.encode(pairs)
    reference: Scored | None = None
    if row.needs_reference:
        # Two autocast blocks: one would hand the policy the casts that were made here, which carry no gradient.
        with torch.no_grad(), run.accelerator.autocast():
            reference = run.policy.reference(encoded, draw)
    with run.accelerator.autocast():
        scored = run.policy.score(encoded, draw)
    device = scored.candidates[0].logps.device
    desirable = torch.tensor([pair.desirable for pair in pairs], device=device) if row.both_sides else None
    return PairScores(*_two(scored), *_two(reference), desirable=desirable, point=point), dict(scored.info)


def _two(scored: Scored | None) -> tuple[Any, Any]:
    """Chosen and rejected candidate; None for what is not there."""
    candidates = (*scored.candidates, None) if scored is not None else (None, None)
    return candidates[0], candidates[1]
