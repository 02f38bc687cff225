"""Leaves out the pairs of a batch that have no gradient, because the scale or the weight of their label is exactly 0.

The loss of such a pair is a constant, so leaving it out is exact, and it costs no forward pass.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Tensor

from diffalign.data.records.pair import Pair
from diffalign.labels import Label, without_gradient
from diffalign.losses import Objective
from diffalign.training.step.batch_order import Visit


@dataclass(frozen=True)
class SkippedPairs:
    """The pairs of a batch that were left out.

    Args:
        losses: ``(n,)``, their losses: weight times the loss at zero.
        weights: ``(n,)``, the weights of their labels.
    """

    losses: Tensor
    weights: Tensor


def skip_pairs_without_gradient(
    loss: Objective, label_of: Callable[[Sequence[Pair]], Label], pairs: Sequence[Pair], visits: Sequence[Visit]
) -> tuple[Sequence[Visit], SkippedPairs]:
    """Returns the visits of a batch whose pairs have a gradient, at least one, and the pairs that are left out.

    Args:
        loss: The objective; where its loss at zero is unknown, only pairs of weight 0 are left out.
        label_of: Returns the labels of pairs.
        pairs: All pairs, by index.
        visits: The batch.
    """
    at_zero, label = loss.at_zero, label_of([pairs[index] for index, _ in visits])
    skipped = label.weight == 0.0 if at_zero is None else without_gradient(label)
    if not bool(skipped.any()):
        return visits, SkippedPairs(label.weight[:0], label.weight[:0])
    if bool(skipped.all()):
        skipped[0] = False  # one pair stays: other processes wait for a gradient
    trained = [visit for visit, left_out in zip(visits, skipped.tolist(), strict=True) if not left_out]
    weights = label.weight[skipped]
    return trained, SkippedPairs(weights * (at_zero or 0.0), weights)
