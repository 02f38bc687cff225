"""A label: how sure we are that the candidate called *chosen* is the better one, and how much the pair counts."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from diffalign.losses.catalogue import BoundLoss
from diffalign.losses.scores import PairScores


@dataclass(frozen=True)
class Label:
    """What is known about a batch of comparisons. Kept on the CPU: it is a few numbers per pair.

    Args:
        probability: ``(B,)`` float64 in [0, 1]: how likely the chosen candidate is truly the better one.
        weight: ``(B,)`` float64, 0 or more: factor on the pair's loss.
    """

    probability: Tensor
    weight: Tensor

    def __len__(self) -> int:
        return len(self.probability)


def expected(loss: BoundLoss, scores: PairScores, label: Label) -> Tensor:
    """The loss under the label's uncertainty.

        loss_b = weight_b [ p_b L(scores_b) + (1 - p_b) L(swapped scores_b) ]

    Args:
        loss: A bound loss on pairs.
        scores: ``B`` pairs.
        label: Their ``B`` labels.

    Returns:
        ``(B,)``, one number per pair, on the scores' device.

    Facts: where every p is 1 the swapped loss is not computed at all, so a sure label costs nothing and changes no bit.
        At margin 0 the value is ``weight`` times the loss at zero, for every p.
    """
    straight = loss(scores)
    if len(label) != len(straight):
        raise ValueError(f"expected one label per pair; got {len(label)} labels for {len(straight)} pairs")
    weight = label.weight.to(straight)
    if bool(torch.all(label.probability == 1.0)):
        return weight * straight
    p = label.probability.to(straight)
    return weight * (p * straight + (1.0 - p) * loss(scores.swapped()))
