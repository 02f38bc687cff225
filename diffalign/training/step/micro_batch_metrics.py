"""The metrics of a micro-batch, one number per pair, under the names that users of TRL know, plus those of a denoiser.

Of single examples *chosen* are the desirable ones and *rejected* the others, each with a mean of its own.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from diffalign.labels import ExpectedLoss
from diffalign.losses import BoundLoss, Objective, PairLogps, accuracy

BINS = 5
"""Noise levels are reported in this many equal bins of [0, 1)."""
SATURATED = 0.05
"""A pair counts as saturated when its slope has fallen below this share of the slope at margin 0."""
Rows = dict[str, tuple[Tensor, Tensor | None]]
"""Numbers by name, each ``(B,)``, with a mask of the pairs that they are about; None: all."""


@torch.no_grad()
def metric_rows(objective: Objective, logps: PairLogps, loss: ExpectedLoss, info: Mapping[str, Tensor]) -> Rows:
    """Returns the metrics of a micro-batch, without gradient.

    Args:
        objective: The loss that is trained on: its first term defines implicit rewards and saturation.
        logps: Log-probabilities of the micro-batch, as its labels order the candidates.
        loss: The loss of each pair, and of each term where several are summed.
        info: The policy's diagnostics. With a ``"level"`` the policy is a denoiser, whose logp is ``-e/2``: its errors
            against the reference are reported too.
    """
    lead, level = objective.lead, info.get("level")
    rows = _single_rows(lead, logps) if lead.loss.accepts_undesirable else _pair_rows(lead, logps)
    rows["loss"] = (loss.total.detach(), None)
    if len(objective.terms) > 1:
        rows |= {f"loss/{name}": (values, None) for name, values in loss.terms.items()}
    if lead.loss.takes == "margin" and lead.loss.needs_reference:
        rows["health/saturated"] = ((lead.saturation(logps) < SATURATED).float(), None)
    if objective.needs_reference:
        rows |= _both_sides("displacement/{}", *_logratios(logps), logps.desirable)
    if level is not None and objective.needs_reference:
        rows |= _both_sides("error/{}_change", *_logratios(logps), logps.desirable, factor=-2.0)
    if level is not None and "rewards/accuracies" in rows:
        rows |= _by_level("accuracy", rows["rewards/accuracies"][0], level)
    if level is not None and "noise/rms" in info:
        rows |= _by_level("noise", info["noise/rms"], level)
    if "gate" in info:  # near a half by rounding noise where policy and reference are all but equal
        rows["label/flipped"] = ((info["gate"] < 0).float(), None)
    rows |= {name: (value.float(), None) for name, value in info.items() if "/" in name}
    return {name: (values.detach(), mask) for name, (values, mask) in rows.items()}


def _by_level(name: str, values: Tensor, level: Tensor) -> Rows:
    """Returns a number of each pair under the names of the bins of noise levels."""
    bins = (level.to(values.device) * BINS).long().clamp_(0, BINS - 1)
    return {f"{name}/level_{k / BINS:.1f}-{(k + 1) / BINS:.1f}": (values, bins == k) for k in range(BINS)}


def _pair_rows(lead: BoundLoss, logps: PairLogps) -> Rows:
    """Returns the metrics of pairs, or of winners without rejected candidates."""
    chosen, rejected = lead.rewards(logps)
    rows: Rows = {"rewards/chosen": (chosen, None)}
    other = logps.rejected
    rows |= _both_sides("logps/{}", logps.chosen.logps, other.logps if other is not None else None)
    rows |= _both_sides("length/{}", logps.chosen.lengths, other.lengths if other is not None else None)
    if other is None or rejected is None:
        return rows
    margin = lead.margin(logps) if lead.loss.needs_reference else chosen - rejected
    return rows | {
        "rewards/rejected": (rejected, None),
        "rewards/margins": (chosen - rejected, None),
        "rewards/accuracies": (accuracy(margin), None),
        "accuracy/ranking": (accuracy(logps.chosen.logps - other.logps), None),
        "health/margin_size": ((chosen - rejected).abs(), None),
    }


def _single_rows(lead: BoundLoss, logps: PairLogps) -> Rows:
    """Returns the metrics of single examples of both kinds, each right on its own side of the baseline."""
    reward, _ = lead.rewards(logps)
    desirable, baseline = logps.desirable, logps.baseline
    assert desirable is not None
    gain = reward if baseline is None else reward - lead.beta * baseline
    rows = _both_sides("rewards/{}", reward, None, desirable)
    rows |= _both_sides("logps/{}", logps.chosen.logps, None, desirable)
    rows |= _both_sides("length/{}", logps.chosen.lengths, None, desirable)
    rows["rewards/accuracies"] = (accuracy(torch.where(desirable, gain, -gain)), None)
    rows["health/margin_size"] = (gain.abs(), None)
    if baseline is not None:
        name = "kl" if "kto_baseline" in lead.loss.needs else "shift"
        rows[name] = (baseline.to(gain).expand(len(gain)), None)
    return rows


def _logratios(logps: PairLogps) -> tuple[Tensor, Tensor | None]:
    return logps.chosen_logratio, None if logps.rejected is None else logps.rejected_logratio


def _both_sides(
    name: str, chosen: Tensor | None, rejected: Tensor | None, desirable: Tensor | None = None, factor: float = 1.0
) -> Rows:
    """Returns a number of both sides, under a name with a gap: of pairs each candidate's, of single examples the one
    candidate's, split by which examples are desirable.
    """
    if chosen is None:
        return {}
    rows: Rows = {name.format("chosen"): (factor * chosen, desirable)}
    if desirable is not None:
        rows[name.format("rejected")] = (factor * chosen, ~desirable)
    elif rejected is not None:
        rows[name.format("rejected")] = (factor * rejected, None)
    return rows
