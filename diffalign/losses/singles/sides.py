"""The two sides of single examples: which are to be learnt, and what each has gained on its own side of a point."""

from __future__ import annotations

import torch
from torch import Tensor

from diffalign.losses.pair_logps import PairLogps


def good_ones(scores: PairLogps) -> Tensor:
    """``(B,)`` of booleans beside the log-probabilities: which examples are to be learnt; all, where nobody judged."""
    logps = scores.chosen.logps
    if scores.desirable is None:
        return torch.ones(len(logps), dtype=torch.bool, device=logps.device)
    return scores.desirable.to(logps.device)


def gains(scores: PairLogps, *, baseline: str) -> tuple[Tensor, Tensor]:
    """``(gain, good)``, each ``(B,)``: how far each logratio lies beyond the point, on the example's own side of it: up
    for those to be learnt, down for the others.

    Args:
        scores: Single examples against a reference, with their point, from which no gradient comes.
        baseline: What the point is called, for the message.

    Raises:
        ValueError: The scores carry none.
    """
    if scores.baseline is None:
        raise ValueError(f"this loss measures gains from a {baseline}, but the scores carry none; compute it first")
    gain, good = scores.chosen_logratio - scores.baseline.detach(), good_ones(scores)
    return torch.where(good, gain, -gain), good
