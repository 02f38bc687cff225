"""SePPO's gate: the chosen candidate's logratio decides whether the policy avoids the rejected one or learns from it.

For data with winners only: the rejected candidate is a sample of an earlier checkpoint, which is also the reference.
Such a sample need not be worse than what the policy generates now.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from diffalign.data.records.pair import Pair
from diffalign.labels.label import Label
from diffalign.losses.pair_logps import PairLogps


def seppo_gate(
    pairs: Sequence[Pair], *, kind: Literal["sign", "indicator"] = "sign", tie: int = 0, noises: int = 1
) -> Label:
    """SePPO's Anchor-based Adaptive Flipper: a gate on the rejected logratio, probability and weight 1.

        g_b = sign(R_w,b) = sign(-d_w,b),      L(R_w, g R_l);      indicator: 1 where R_w,b > 0, 0 otherwise

    with ``R_w`` the chosen logratio and ``d_w = e_policy - e_reference`` the chosen candidate's excess error, under the
    same noise. The chosen candidate is the paper's anchor. Where the policy explains it better than the reference does,
    the sample of the reference is pushed away as usual; where it explains it worse, the policy learns from the sample
    as well.

    Args:
        pairs: The batch.
        kind: Effect on the sample where the reference is ahead: "sign" learns from it, "indicator" drops it.
        tie: The gate of an exact tie: 0, the mathematical sign, learns from the chosen candidate only; 1 is the plain
            loss.
        noises: N, the noises that vote: ``R_w`` is a mean over the pair's own draw and N - 1 further ones of level and
            noise. 1 as published; each further one costs two forward passes of the chosen candidate.

    Raises:
        ValueError: An unknown kind, a tie other than 0 and 1, or no noise.

    Facts: the gate reads the chosen candidate's log-probabilities only, carries no gradient and calls no network. Where
        it is 1 the loss is the plain one, bit for bit. At the first step policy and reference are equal, so all are
        ties. The gate of one noise is an estimate: near a tie it is right little more often than a coin. Where ``R_w``
        has the mean m and the deviation s over draws, the sign of a mean over N is right with probability
        Phi(|m| sqrt(N) / s).

    Source: Zhang et al. 2024, SePPO (arXiv 2410.05255), the Anchor-based Adaptive Flipper. The paper compares both
        kinds and finds them nearly alike; it does not define the gate of a tie.
    """
    if kind not in ("sign", "indicator"):
        raise ValueError(
            f"kind of the label 'seppo_gate' is sign (learn from the sample) or indicator (drop it); got {kind!r}"
        )
    if tie not in (0, 1):
        raise ValueError(f"tie of the label 'seppo_gate' is the gate where neither model is ahead, 0 or 1; got {tie!r}")

    if isinstance(noises, bool) or not isinstance(noises, int) or noises < 1:
        raise ValueError(
            f"noises of the label 'seppo_gate' is how many noises vote, a whole number of at least 1; got {noises!r}"
        )

    def gate(logps: PairLogps) -> Tensor:
        logratio = logps.chosen_logratio.detach()
        gates = torch.sign(logratio) if kind == "sign" else (logratio > 0).to(logratio)
        return torch.where(logratio == 0, torch.full_like(gates, tie), gates)

    ones = torch.ones(len(pairs), dtype=torch.float64)
    return Label(probability=ones, weight=ones, gate=gate, gate_noises=noises)
