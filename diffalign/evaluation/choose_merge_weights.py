"""Chooses weights for a merge of adapters on a memory: a few pairs of each domain that the adapters were trained for.

    w = argmin over a grid on the simplex of the mean over the memory of -log s(beta m),      sum of w = 1

The loss is DPO's, whatever losses the adapters were trained with.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch

from diffalign.data.records.pair import Pair
from diffalign.losses import LOSSES, PairLogps
from diffalign.policies.policy import Policy, Progress, no_progress
from diffalign.randomness import Draw


@dataclass(frozen=True)
class GridPoint:
    """One point of the grid.

    Args:
        weights: One per adapter; their sum is 1.
        loss: Mean loss on the memory.
    """

    weights: tuple[float, ...]
    loss: float


def simplex(count: int, step: float) -> Iterator[tuple[float, ...]]:
    """Yields every point of the grid: weights that are multiples of ``step`` and sum to 1."""
    parts = round(1.0 / step)
    for cuts in itertools.combinations_with_replacement(range(parts + 1), count - 1):
        ends = (0, *cuts, parts)
        yield tuple((b - a) / parts for a, b in itertools.pairwise(ends))


def weight_setter(policy: Policy, ranks: Sequence[int]) -> Callable[[Sequence[float]], None]:
    """Returns a function that sets the merge weights of a policy.

    Args:
        policy: A policy whose adapter is the merge of adapters, each with the weight 1.
        ranks: The ranks of the merged adapters, in order.
    """
    unweighted = {name: p.detach().clone() for name, p in policy.trainable().items() if "lora_B" in name}

    @torch.no_grad()
    def set_weights(weights: Sequence[float]) -> None:
        columns = torch.tensor([w for w, rank in zip(weights, ranks, strict=True) for _ in range(rank)])
        parameters = policy.trainable()
        for name, value in unweighted.items():
            factor = columns.to(value).view(1, -1, *[1] * (value.ndim - 2))
            parameters[name].copy_(value * factor)

    return set_weights


@torch.no_grad()
def choose_weights(
    policy: Policy,
    set_weights: Callable[[Sequence[float]], None],
    count: int,
    pairs: Sequence[Pair],
    *,
    beta: float,
    step: float = 0.1,
    batch: int = 8,
    progress: Progress = no_progress,
) -> list[GridPoint]:
    """Returns every point of the grid with its loss, the best first; ties are sorted by the largest weight, ascending.

    Args:
        policy: A policy whose adapter is the merge.
        set_weights: Sets the merge weights of the policy, see :func:`weight_setter`.
        count: Number of adapters.
        pairs: The memory.
        beta: Inverse temperature of the loss, > 0.
        step: Distance of neighbouring weights on the grid.
        batch: Pairs per forward pass.
        progress: Called as ``progress(what, done, total)``.
    """
    loss, points, results = LOSSES["logistic"].bind(beta=beta), list(simplex(count, step)), []
    for number, weights in enumerate(points, 1):
        set_weights(weights)
        total = 0.0
        for start in range(0, len(pairs), batch):
            part = pairs[start : start + batch]
            encoded = policy.encode(part)
            for index in range(policy.eval_draws):  # the same noise for every point
                draw = Draw(0, tuple(pair.id for pair in part), (-1 - index,) * len(part))
                policy_logps, reference_logps = policy.logps(encoded, draw), policy.reference_logps(encoded, draw)
                chosen, rejected = policy_logps.candidates[:2]
                ref_chosen, ref_rejected = reference_logps.candidates[:2]
                logps = PairLogps(chosen, rejected, ref_chosen, ref_rejected)
                total += float(loss(logps).sum()) / policy.eval_draws
        results.append(GridPoint(weights, total / len(pairs)))
        progress("weights", number, len(points))
    return sorted(results, key=lambda point: (point.loss, max(point.weights)))
