"""Silent pairs: their place in the data stays, and so do all draws, but their weight is 0."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch

from diffalign.data.records.pair import Pair
from diffalign.labels.label import Label


def silencing(label_of: Callable[[Sequence[Pair]], Label]) -> Callable[[Sequence[Pair]], Label]:
    """Returns a function that labels pairs as ``label_of`` does, with weight 0 for those that are silent."""

    def label(pairs: Sequence[Pair]) -> Label:
        found = label_of(pairs)
        if not any(pair.silent for pair in pairs):
            return found
        heard = torch.tensor([not pair.silent for pair in pairs])
        return replace(found, weight=torch.where(heard, found.weight, torch.zeros_like(found.weight)))

    return label
