"""Hard labels: every vote counts as certain."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from diffalign.data.records.pair import Pair
from diffalign.labels.label import Label


def hard(pairs: Sequence[Pair]) -> Label:
    """Probability 1 and weight 1 for every pair, whatever probability the record has."""
    ones = torch.ones(len(pairs), dtype=torch.float64)
    return Label(probability=ones, weight=ones)
