"""The two kinds of single examples, desirable and undesirable, and the gain of each over a baseline."""

from __future__ import annotations

import torch
from torch import Tensor

from diffalign.losses.candidate_logps import upcast
from diffalign.losses.pair_logps import PairLogps


def desirable_mask(logps: PairLogps) -> Tensor:
    """Returns ``(B,)`` of booleans on the device of the log-probabilities: which examples are to be learnt; all of them
    where ``desirable`` is None.
    """
    chosen = logps.chosen.logps
    if logps.desirable is None:
        return torch.ones(len(chosen), dtype=torch.bool, device=chosen.device)
    return logps.desirable.to(chosen.device)


def share_of_kind(logps: PairLogps) -> Tensor:
    """Returns ``(B,)``: the share of the batch that is of each example's own kind, above 0. Without ``desirable_share``
    these examples are the batch.
    """
    desirable, logps_like = desirable_mask(logps), upcast(logps.chosen.logps)
    given = logps.desirable_share
    share = desirable.to(logps_like).mean() if given is None else given.to(logps_like)
    return torch.where(desirable, share, 1.0 - share)


def gains(logps: PairLogps, *, baseline: str) -> tuple[Tensor, Tensor]:
    """Returns ``(gain, desirable)``, each ``(B,)``: the logratio minus the baseline, negated for undesirable examples.

    Args:
        logps: Single examples against a reference, with their baseline, which has no gradient.
        baseline: The name of the baseline, for the message.

    Raises:
        ValueError: There is no baseline.
    """
    if logps.baseline is None:
        raise ValueError(f"this loss measures gains from a {baseline}, but there is none; compute it first")
    gain, desirable = logps.chosen_logratio - logps.baseline.detach(), desirable_mask(logps)
    return torch.where(desirable, gain, -gain), desirable
