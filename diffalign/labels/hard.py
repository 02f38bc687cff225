"""Hard labels: the vote is the truth."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from diffalign.data.records.pair import Pair
from diffalign.labels.label import Label


def hard(pairs: Sequence[Pair]) -> Label:
    """Probability 1 for every pair, whatever the record says about it; weight 1."""
    ones = torch.ones(len(pairs), dtype=torch.float64)
    return Label(probability=ones, weight=ones)
