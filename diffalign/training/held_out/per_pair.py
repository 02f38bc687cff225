"""Metrics of whole held-out pairs: means over the draws of each pair first, then decisions such as a ranking.

The mean over draws must come before a decision: a denoiser's ``-e/2`` at one noise level ranks two images by chance.
Policy, reference and both candidates share their draws, so differences of the means are meaningful.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from diffalign.data.records.pair import Pair
from diffalign.labels import Label
from diffalign.losses import BoundLoss, CandidateLogps, Objective, PairLogps, accuracy, upcast
from diffalign.losses.diagnostics.calibration import calibration
from diffalign.losses.diagnostics.monitors import displacement, token_ratio
from diffalign.losses.diagnostics.ranking import (
    flip_threshold,
    flips,
    ideal_margin,
    ideal_squared_margin,
    ranks_right,
    rater_shares,
)

SIDES = ("chosen", "rejected", "reference_chosen", "reference_rejected")
COLUMNS = (
    *SIDES,
    *(f"adjusted_{side}" for side in SIDES),
    "length_chosen",
    "length_rejected",
    "margin",
    "swapped",
    "draws",
)
"""The sums of each pair. *Adjusted* log-probabilities are those after the loss's settings, such as a mean per token."""


class PerPairMetrics:
    """Sums over draws, a row per pair.

    Args:
        count: Number of pairs.
        loss: The loss that is trained on.
    """

    def __init__(self, count: int, loss: Objective) -> None:
        self.count, self.loss = count, loss
        self.sums: Tensor | None = None

    @torch.no_grad()
    def add(self, indices: Sequence[int], pair_logps: PairLogps, label: Label) -> None:
        """Adds a micro-batch.

        Args:
            indices: Indices of its pairs.
            pair_logps: Their log-probabilities, as the label orders the candidates (see `labels.swapped_by`).
            label: Their labels.
        """
        if pair_logps.rejected is None:
            return
        lead, adjusted = self.loss.lead, self.loss.lead.with_settings(pair_logps)
        zero = torch.zeros_like(upcast(pair_logps.chosen.logps))
        logps = [None if side is None else side.logps for logps in (pair_logps, adjusted) for side in _sides(logps)]
        lengths = [pair_logps.chosen.lengths, pair_logps.rejected.lengths]
        has_margin = lead.loss.takes == "margin" and lead.loss.needs_reference
        margin = lead.margin(pair_logps) if has_margin else None
        swapped = label.scale < 0 if label.relabels and label.scale is not None else None
        columns = [*logps, *lengths, margin, swapped, zero + 1.0]
        rows = torch.stack([zero if value is None else value.to(zero) for value in columns], dim=1)
        if self.sums is None:
            self.sums = self._empty(rows.device)
        self.sums.index_add_(0, torch.tensor(list(indices), device=rows.device), rows.to(self.sums))

    def read(
        self, pairs: Sequence[Pair], reduce: Callable[[Tensor], Tensor], device: torch.device | str = "cpu"
    ) -> dict[str, float]:
        """Returns the metrics by name: none for single examples, and only finite ones.

        Args:
            pairs: All held-out pairs, for their probabilities.
            reduce: Sums a tensor over all processes; every process takes part.
            device: The device on which processes reduce.
        """
        sums = reduce(self._empty(device) if self.sums is None else self.sums).double().cpu()
        means = sums[:, :-1] / sums[:, -1:].clamp(min=1.0)
        table = dict(zip(COLUMNS, means[sums[:, -1] > 0].unbind(1), strict=False))
        if not len(table["chosen"]):
            return {}
        votes = torch.tensor([pair.probability for pair in pairs], dtype=torch.float64)[sums[:, -1] > 0]
        are_shares = bool(((votes != 0.0) & (votes != 1.0)).any())  # otherwise only the label orders the candidates
        better = torch.where(table["swapped"] > 0, 1.0 - votes, votes) if are_shares else torch.ones_like(votes)
        metrics = pair_metrics(self.loss, table, better)
        return {name: value for name, value in metrics.items() if math.isfinite(value)}

    def _empty(self, device: torch.device | str) -> Tensor:
        dtype = torch.float32 if torch.device(device).type == "mps" else torch.float64
        return torch.zeros(self.count, len(COLUMNS), dtype=dtype, device=device)


def pair_metrics(loss: Objective, table: dict[str, Tensor], better: Tensor) -> dict[str, float]:
    """Returns the metrics of whole pairs.

    Args:
        loss: The loss that is trained on.
        table: The columns :data:`COLUMNS`, ``(P,)`` each, means over draws.
        better: ``(P,)``, the share of raters for the chosen candidate; all 1 where only votes are known.
    """
    w, l = table["chosen"], table["rejected"]  # noqa: E741  (the papers' letters)
    sizes = table["length_chosen"], table["length_rejected"]
    have_tokens = bool((sizes[0] > 0).all() and (sizes[1] > 0).all())
    metrics = {"accuracy/ranking": _mean(accuracy(w - l))}
    if have_tokens:
        metrics["accuracy/ranking_per_token"] = _mean(accuracy(w / sizes[0] - l / sizes[1]))
        metrics["displacement/token_ratio"] = _mean(token_ratio(w, l, *sizes))
    if not loss.needs_reference:
        return metrics
    ratios = w - table["reference_chosen"], l - table["reference_rejected"]
    moved = displacement(*ratios)
    metrics |= {"displacement/chosen": moved.gain, "displacement/rejected": -moved.drop}
    metrics["displacement/chosen_error"] = float(ratios[0].std()) / math.sqrt(len(w)) if len(w) > 1 else math.inf
    metrics["displacement/suppression"] = moved.suppression
    lead, gap = loss.lead, table["adjusted_chosen"] - table["adjusted_rejected"]
    reference_gap = table["adjusted_reference_chosen"] - table["adjusted_reference_rejected"]
    ranked = flips(ranks_right(reference_gap, torch.zeros_like(gap)), ranks_right(gap, torch.zeros_like(gap)))
    shares = {name: getattr(ranked, name) for name in ("both", "gained", "lost", "neither", "flipped")}
    metrics |= {f"ranking/{name}": value for name, value in shares.items()}
    if not lead.loss.needs_reference:
        return metrics
    # Rewards are a curve of the logratio under another divergence; their difference is the loss's own margin.
    is_bent = lead.divergence != "reverse_kl"
    calibrated = calibration(lead.beta * (table["margin"] if is_bent else gap - reference_gap), better)
    metrics |= {"calibration/error": calibrated.error, "calibration/factor": calibrated.factor}
    if lead.loss.takes == "margin":
        metrics["displacement/grad_weight"] = -_mean(lead.slope(table["margin"]))
    if not is_bent and "beta" in lead.hyper:
        metrics |= _ideal(lead, gap, reference_gap, rater_shares(better))
    return metrics


def _ideal(lead: BoundLoss, gap: Tensor, reference_gap: Tensor, share: Tensor) -> dict[str, float]:
    """Returns the share of pairs that the optimum ranks right, and the loss below which a policy ranks those right that
    its reference ranks wrong.
    """
    row: Any = lead.loss
    optimum = math.inf if row.optimum is None else row.optimum(lead.numbers)
    squared = row.takes == "margin" and row.is_quadratic and math.isfinite(optimum)
    ideal_margins = ideal_squared_margin(share, target=optimum) if squared else ideal_margin(share, beta=lead.beta)
    ideal = _mean(accuracy(reference_gap + ideal_margins))
    metrics = {"accuracy/ranking_ideal": ideal, "ranking/gap": ideal - _mean(accuracy(gap))}
    wrong = -reference_gap[reference_gap < 0]
    if row.takes == "margin" and len(wrong):
        threshold = flip_threshold(wrong, lambda margin: row.function(margin, **lead.arguments), optimum=optimum)
        metrics["ranking/flip_loss"] = float(threshold.nanmean())
        metrics["ranking/unreachable"] = _mean(threshold.isnan())
    return metrics


def _sides(logps: PairLogps) -> tuple[CandidateLogps | None, ...]:
    return logps.chosen, logps.rejected, logps.reference_chosen, logps.reference_rejected


def _mean(values: Tensor) -> float:
    return float(values.double().mean())
