"""Held-out pairs one by one: what is said of each, averaged over its looks, and what only whole pairs can tell.

A mean over looks must come before a decision: a denoiser's ``-e/2`` at one noise level ranks two images by chance.
Policy, reference and both candidates share the draws of a look, so differences of the means are meaningful.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from diffalign.data.records.pair import Pair
from diffalign.labels import Label
from diffalign.losses import BoundLoss, Objective, PairLogps, accuracy, upcast
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
from diffalign.losses.logp_settings import F_DIVERGENCE

SIDES = ("chosen", "rejected", "reference_chosen", "reference_rejected")
COLUMNS = (*SIDES, *(f"seen_{side}" for side in SIDES), "length_chosen", "length_rejected", "margin", "turned", "looks")
"""What is summed of each pair. What the loss has *seen* is after its settings, such as a mean per token."""


class PerPairMetrics:
    """Sums over looks, a row per pair.

    Args:
        count: How many pairs there are.
        loss: What is trained on.
    """

    def __init__(self, count: int, loss: Objective) -> None:
        self.count, self.loss = count, loss
        self.sums: Tensor | None = None

    @torch.no_grad()
    def add(self, indices: Sequence[int], scores: PairLogps, label: Label) -> None:
        """Adds a micro-batch.

        Args:
            indices: Which pairs.
            scores: Their scores as the label calls the candidates, see `labels.oriented`.
            label: Theirs.
        """
        if scores.rejected is None:
            return
        lead, seen = self.loss.lead, self.loss.lead.with_settings(scores)
        zero = torch.zeros_like(upcast(scores.chosen.logps))
        logps = [None if side is None else side.logps for given in (scores, seen) for side in _sides(given)]
        lengths = [scores.chosen.lengths, scores.rejected.lengths]
        compared = lead.loss.takes == "margin" and lead.loss.needs_reference
        margin = lead.margin(scores) if compared else None
        turned = label.scale < 0 if label.relabels and label.scale is not None else None
        columns = [*logps, *lengths, margin, turned, zero + 1.0]
        rows = torch.stack([zero if value is None else value.to(zero) for value in columns], dim=1)
        if self.sums is None:
            self.sums = self._empty(rows.device)
        self.sums.index_add_(0, torch.tensor(list(indices), device=rows.device), rows.to(self.sums))

    def read(
        self, pairs: Sequence[Pair], reduce: Callable[[Tensor], Tensor], device: torch.device | str = "cpu"
    ) -> dict[str, float]:
        """Numbers by name; none of single examples, and none that is not finite.

        Args:
            pairs: All held-out pairs, for their probabilities.
            reduce: Sums a tensor over all processes; every process takes part.
            device: Where they compute.
        """
        sums = reduce(self._empty(device) if self.sums is None else self.sums).double().cpu()
        means = sums[:, :-1] / sums[:, -1:].clamp(min=1.0)
        table = dict(zip(COLUMNS, means[sums[:, -1] > 0].unbind(1), strict=False))
        if not len(table["chosen"]):
            return {}
        known = torch.tensor([pair.probability for pair in pairs], dtype=torch.float64)[sums[:, -1] > 0]
        shared = bool(((known != 0.0) & (known != 1.0)).any())  # else votes: the label alone says who is the better one
        better = torch.where(table["turned"] > 0, 1.0 - known, known) if shared else torch.ones_like(known)
        found = numbers(self.loss, table, better)
        return {name: value for name, value in found.items() if math.isfinite(value)}

    def _empty(self, device: torch.device | str) -> Tensor:
        exact_type = torch.float32 if torch.device(device).type == "mps" else torch.float64
        return torch.zeros(self.count, len(COLUMNS), dtype=exact_type, device=device)


def numbers(loss: Objective, table: dict[str, Tensor], better: Tensor) -> dict[str, float]:
    """What whole pairs tell.

    Args:
        loss: What is trained on.
        table: The columns :data:`COLUMNS`, ``(P,)`` each, means over looks.
        better: ``(P,)``, the share of raters for the chosen candidate; all 1 where only votes are known.
    """
    w, l = table["chosen"], table["rejected"]  # noqa: E741  (the papers' letters)
    sizes = table["length_chosen"], table["length_rejected"]
    texts = bool((sizes[0] > 0).all() and (sizes[1] > 0).all())
    found = {"accuracy/ranking": _mean(accuracy(w - l))}
    if texts:
        found["accuracy/ranking_per_token"] = _mean(accuracy(w / sizes[0] - l / sizes[1]))
        found["displacement/token_ratio"] = _mean(token_ratio(w, l, *sizes))
    if not loss.needs_reference:
        return found
    ratios = w - table["reference_chosen"], l - table["reference_rejected"]
    moved = displacement(*ratios)
    found |= {"displacement/chosen": moved.gain, "displacement/rejected": -moved.drop}
    found["displacement/chosen_error"] = float(ratios[0].std()) / math.sqrt(len(w)) if len(w) > 1 else math.inf
    found["displacement/suppression"] = moved.suppression
    lead, gap = loss.lead, table["seen_chosen"] - table["seen_rejected"]
    reference_gap = table["seen_reference_chosen"] - table["seen_reference_rejected"]
    who = flips(ranks_right(reference_gap, torch.zeros_like(gap)), ranks_right(gap, torch.zeros_like(gap)))
    shares = {name: getattr(who, name) for name in ("both", "gained", "lost", "neither", "flipped")}
    found |= {f"ranking/{name}": value for name, value in shares.items()}
    if not lead.loss.needs_reference:
        return found
    said = calibration(lead.beta * (gap - reference_gap), better)
    found |= {"calibration/error": said.error, "calibration/factor": said.factor}
    if lead.loss.takes == "margin":
        found["displacement/grad_weight"] = -_mean(lead.slope(table["margin"]))
    if lead.hyper.get(F_DIVERGENCE, "reverse_kl") == "reverse_kl" and "beta" in lead.hyper:
        found |= _ideal(lead, gap, reference_gap, rater_shares(better))
    return found


def _ideal(lead: BoundLoss, gap: Tensor, reference_gap: Tensor, share: Tensor) -> dict[str, float]:
    """How many pairs the optimum ranks right, and below which loss those that the reference has wrong are."""
    row: Any = lead.loss
    optimum = math.inf if row.optimum is None else row.optimum(lead.numbers)
    squared = row.takes == "margin" and row.is_quadratic and math.isfinite(optimum)
    wanted = ideal_squared_margin(share, target=optimum) if squared else ideal_margin(share, beta=lead.beta)
    ideal = _mean(accuracy(reference_gap + wanted))
    found = {"accuracy/ranking_ideal": ideal, "ranking/gap": ideal - _mean(accuracy(gap))}
    wrong = -reference_gap[reference_gap < 0]
    if row.takes == "margin" and len(wrong):
        threshold = flip_threshold(wrong, lambda margin: row.function(margin, **lead.arguments), optimum=optimum)
        found["ranking/flip_loss"] = float(threshold.nanmean())
        found["ranking/unreachable"] = _mean(threshold.isnan())
    return found


def _sides(scores: PairLogps) -> tuple[Any, ...]:
    return scores.chosen, scores.rejected, scores.reference_chosen, scores.reference_rejected


def _mean(values: Tensor) -> float:
    return float(values.double().mean())
