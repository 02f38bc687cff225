"""Label noise: every vote is wrong with the same known probability."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from diffalign.data.records.pair import Pair
from diffalign.labels.label import Label


def label_noise(pairs: Sequence[Pair], *, flip: float) -> Label:
    """Probability ``1 - flip`` for every pair, weight 1.

    Args:
        pairs: The batch.
        flip: Assumed share of mislabelled pairs, in [0, 0.5).

    Facts: with the logistic loss it equals that loss's own ``flip`` (cDPO); it works the same with every other loss on
        pairs.

    Source: Mitchell's note on noisy preferences (ericmitchell.ai/cdpo.pdf), eq. 3.
    """
    if not 0.0 <= flip < 0.5:
        raise ValueError(
            f"flip is the assumed share of mislabelled pairs, so it must lie in [0, 0.5); got {flip}. "
            "For clean labels leave it at 0; above one half, swap chosen and rejected."
        )
    ones = torch.ones(len(pairs), dtype=torch.float64)
    return Label(probability=ones - flip, weight=ones)
