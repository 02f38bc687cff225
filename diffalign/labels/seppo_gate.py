"""Anchored labels: the chosen candidate decides whether the other one is to be avoided or learnt from.

For data with winners only: the other candidate is a sample of an earlier checkpoint, which is also the reference. Such
a sample need not be worse than what the policy makes by now.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from diffalign.data.records.pair import Pair
from diffalign.labels.label import Label
from diffalign.losses.pair_logps import PairLogps


def anchor(pairs: Sequence[Pair], *, kind: Literal["sign", "indicator"] = "sign", tie: int = 0) -> Label:
    """SePPO's Anchor-based Adaptive Flipper: a gate on the rejected logratio, probability and weight 1.

        g_b = sign(R_w,b) = sign(-d_w,b),      L(R_w, g R_l);      indicator: 1 where R_w,b > 0, else 0

    with ``R_w`` the chosen logratio and ``d_w = e_policy - e_reference`` the chosen candidate's excess error, under the
    same noise. Where the policy explains the chosen candidate (the anchor) better than the reference does, the sample
    of the reference is pushed away as usual; where it explains it worse, the sample is learnt from as well.

    Args:
        pairs: The batch.
        kind: What happens to the sample where the reference is ahead: "sign" learns from it, "indicator" drops it.
        tie: The gate of an exact tie: 0, the mathematical sign, learns from the anchor alone; 1 is the plain loss.

    Raises:
        ValueError: A kind or a tie that is none of these.

    Facts: the gate reads the anchor's scores alone, carries no gradient and asks no network. Where it is 1 the loss is
        the plain one, bit for bit. At the first step policy and reference are equal, so all are ties. The gate is a
        guess from one noise: near a tie it is right little more often than a coin.

    Source: Zhang et al. 2024, SePPO (arXiv 2410.05255), the Anchor-based Adaptive Flipper. The paper compares both
        kinds and finds them nearly alike; it does not say what a tie gives.
    """
    if kind not in ("sign", "indicator"):
        raise ValueError(
            f"kind of the label 'anchor' is sign (learn from the sample) or indicator (drop it); got {kind!r}"
        )
    if tie not in (0, 1):
        raise ValueError(f"tie of the label 'anchor' is the gate where neither model is ahead, 0 or 1; got {tie!r}")

    def gate(scores: PairLogps) -> Tensor:
        ahead = scores.chosen_logratio.detach()
        signs = torch.sign(ahead) if kind == "sign" else (ahead > 0).to(ahead)
        return torch.where(ahead == 0, torch.full_like(signs, tie), signs)

    ones = torch.ones(len(pairs), dtype=torch.float64)
    return Label(probability=ones, weight=ones, gate=gate)
