"""Weights for a merge, chosen on a memory: a few pairs of each domain that the adapters were trained for.

    w = argmin over a grid on the simplex of the mean over the memory of -log s(beta m),      sum of w = 1

The loss is DPO's, whatever the adapters were trained with: it asks of a merged model what each of them was asked for.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch

from diffalign.data.records.pair import Pair
from diffalign.losses import LOSSES, PairLogps
from diffalign.policies.policy import Policy
from diffalign.randomness import Draw


@dataclass(frozen=True)
class Tried:
    """One point of the grid.

    Args:
        weights: One per adapter; their sum is 1.
        loss: Mean loss on the memory.
    """

    weights: tuple[float, ...]
    loss: float


def simplex(count: int, step: float) -> Iterator[tuple[float, ...]]:
    """Every point of the grid: weights of multiples of ``step`` that sum to 1."""
    parts = round(1.0 / step)
    for cuts in itertools.combinations_with_replacement(range(parts + 1), count - 1):
        ends = (0, *cuts, parts)
        yield tuple((b - a) / parts for a, b in itertools.pairwise(ends))


def weigher(policy: Policy, ranks: Sequence[int]) -> Callable[[Sequence[float]], None]:
    """What puts weights on a policy whose adapter is the merge of adapters of these ranks, each with the weight 1."""
    whole = {name: p.detach().clone() for name, p in policy.trainable().items() if "lora_B" in name}

    @torch.no_grad()
    def use(weights: Sequence[float]) -> None:
        columns = torch.tensor([w for w, rank in zip(weights, ranks, strict=True) for _ in range(rank)])
        parameters = policy.trainable()
        for name, value in whole.items():
            factor = columns.to(value).view(1, -1, *[1] * (value.ndim - 2))
            parameters[name].copy_(value * factor)

    return use


@torch.no_grad()
def choose_weights(
    policy: Policy,
    use: Callable[[Sequence[float]], None],
    count: int,
    pairs: Sequence[Pair],
    *,
    beta: float,
    step: float = 0.1,
    batch: int = 8,
    progress: Callable[[str, int, int], None] = lambda what, done, total: None,
) -> list[Tried]:
    """Every point of the grid with its loss, the best first; ties go to the more even weights.

    Args:
        policy: A policy whose adapter is the merge.
        use: Puts weights on it.
        count: How many adapters.
        pairs: The memory.
        beta: Of the loss.
        step: Of the grid.
        batch: Pairs at a time.
        progress: Told how far it is.
    """
    loss, points, found = LOSSES["logistic"].bind(beta=beta), list(simplex(count, step)), []
    for number, weights in enumerate(points, 1):
        use(weights)
        total = 0.0
        for start in range(0, len(pairs), batch):
            part = pairs[start : start + batch]
            encoded = policy.encode(part)
            for look in range(policy.eval_draws):  # the same noise for every point
                draw = Draw(0, tuple(pair.id for pair in part), (-1 - look,) * len(part))
                own, reference = policy.logps(encoded, draw), policy.reference_logps(encoded, draw)
                (one, other), (held, against) = own.candidates[:2], reference.candidates[:2]
                total += float(loss(PairLogps(one, other, held, against)).sum()) / policy.eval_draws
        found.append(Tried(weights, total / len(pairs)))
        progress("weights", number, len(points))
    return sorted(found, key=lambda tried: (tried.loss, max(tried.weights)))
