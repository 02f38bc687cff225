"""Metrics, under the names that users of TRL know, plus what a denoiser adds.

Sums and counts are kept in one small tensor on the device and read once per log line: no micro-batch waits for a
number. Every value is a mean over those pairs of the window that it is about, so batch 8 and 8 accumulated ones log the
same.
Of single examples *chosen* are the desirable ones and *rejected* the others, each with a mean of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from diffalign.losses import Objective, PairLogps, accuracy

BINS = 5
"""Noise levels are reported in this many equal bins of [0, 1)."""
Rows = dict[str, tuple[Tensor, Tensor | None]]
"""Numbers by name, each ``(B,)``, with the pairs that they are about; None: all."""
SATURATED = 0.05
"""A pair counts as saturated when its slope has fallen below this share of the slope at margin 0."""


class Metrics:
    """Running sums of one log window.

    Args:
        loss: What is trained on: its first term knows the implicit rewards and where its slope dies.
    """

    def __init__(self, loss: Objective) -> None:
        self.objective, self.loss = loss, loss.lead
        self.names: list[str] = []
        self.sums: Tensor | None = None
        self.pairs = 0
        self.skipped = 0
        self.skipped_loss = 0.0

    @torch.no_grad()
    def add(self, scores: PairLogps, losses: Tensor, info: Mapping[str, Tensor]) -> None:
        """Adds a micro-batch.

        Args:
            scores: Its scores.
            losses: ``(B,)``, the loss of each pair.
            info: The policy's diagnostics. With a ``"level"`` the policy is a denoiser, whose logp is ``-e/2``: its
                errors against the reference are reported too.
        """
        row, level = self.loss.loss, info.get("level")
        rows = self._judged(scores) if row.accepts_undesirable else self._compared(scores)
        rows["loss"] = (losses, None)
        if row.takes == "margin" and row.needs_reference:
            rows["health/saturated"] = ((self.loss.saturation(scores) < SATURATED).float(), None)
        if self.objective.needs_reference:
            rows |= _sides("displacement/{}", *_logratios(scores), scores.desirable)
        if level is not None and self.objective.needs_reference:
            rows |= _sides("error/{}_change", *_logratios(scores), scores.desirable, factor=-2.0)
        if level is not None and "rewards/accuracies" in rows:
            bins = (level.to(losses.device) * BINS).long().clamp_(0, BINS - 1)
            right, _ = rows["rewards/accuracies"]
            for k in range(BINS):
                rows[f"accuracy/level_{k / BINS:.1f}-{(k + 1) / BINS:.1f}"] = (right, bins == k)
        if "gate" in info:  # near a half by rounding noise where policy and reference are all but equal
            rows["label/flipped"] = ((info["gate"] < 0).float(), None)
        rows |= {name: (value.float(), None) for name, value in info.items() if "/" in name}
        self._sum(rows)
        self.pairs += len(losses)

    def _compared(self, scores: PairLogps) -> Rows:
        """Of pairs, or of winners alone."""
        chosen, rejected = self.loss.rewards(scores)
        rows: Rows = {"rewards/chosen": (chosen, None)}
        other = scores.rejected
        rows |= _sides("logps/{}", scores.chosen.logps, other.logps if other is not None else None)
        rows |= _sides("length/{}", scores.chosen.lengths, other.lengths if other is not None else None)
        if other is None or rejected is None:
            return rows
        margin = self.loss.margin(scores) if self.loss.loss.needs_reference else chosen - rejected
        return rows | {
            "rewards/rejected": (rejected, None),
            "rewards/margins": (chosen - rejected, None),
            "rewards/accuracies": (accuracy(margin), None),
            "accuracy/ranking": (accuracy(scores.chosen.logps - other.logps), None),
            "health/margin_size": ((chosen - rejected).abs(), None),
        }

    def _judged(self, scores: PairLogps) -> Rows:
        """Of single examples of both kinds: an example is right on its own side of the reference point."""
        reward, _ = self.loss.rewards(scores)
        good, point = scores.desirable, scores.baseline
        assert good is not None
        gain = reward if point is None else reward - self.loss.beta * point
        rows = _sides("rewards/{}", reward, None, good)
        rows |= _sides("logps/{}", scores.chosen.logps, None, good)
        rows |= _sides("length/{}", scores.chosen.lengths, None, good)
        return rows | {
            "rewards/accuracies": (accuracy(torch.where(good, gain, -gain)), None),
            "health/margin_size": (gain.abs(), None),
            **(
                {}
                if point is None
                else {"kl" if "kto_baseline" in self.loss.loss.needs else "shift": (_all(point, gain), None)}
            ),
        }

    def _sum(self, rows: Rows) -> None:
        device = rows["loss"][0].device
        exact = torch.float64 if device.type != "mps" else torch.float32
        values = torch.stack([value.detach().to(device, exact) for value, _ in rows.values()])
        about = torch.stack(
            [torch.ones_like(value, dtype=torch.bool) if of is None else of for value, of in rows.values()]
        )
        sums = torch.stack([torch.where(about, values, 0.0).sum(dim=1), about.to(exact).sum(dim=1)])
        self.sums, self.names = sums if self.sums is None else self.sums + sums, list(rows)

    def skip(self, losses: Tensor) -> None:
        """Counts pairs that were left out because their label says that they cannot teach; their losses are known."""
        self.skipped += len(losses)
        self.skipped_loss += float(losses.sum())

    def read(self, reduce: Callable[[Tensor], Tensor] | None = None) -> dict[str, float]:
        """Means of the window so far, by name; the only place where the device is waited for.

        Args:
            reduce: Sums a tensor over all processes.
        """
        if self.sums is None:
            return {}
        sums, counts, (_, skipped, skipped_loss) = self._read(self.sums, reduce)
        table = {name: (total, count) for name, total, count in zip(self.names, sums, counts, strict=True) if count}
        record = {name: total / count for name, (total, count) in table.items()}
        if self.loss.loss.accepts_undesirable and {"rewards/chosen", "rewards/rejected"} <= record.keys():
            record["rewards/margins"] = record["rewards/chosen"] - record["rewards/rejected"]
        if skipped:  # they count in the loss, and in nothing that needs a score
            total, count = table["loss"]
            record["loss"] = (total + skipped_loss) / (count + skipped)
            record["label/skipped"] = skipped / (count + skipped)
        return record

    def clear(self) -> None:
        """Starts a new window."""
        self.sums, self.pairs, self.skipped, self.skipped_loss = None, 0, 0, 0.0

    def state(self, reduce: Callable[[Tensor], Tensor] | None = None) -> dict[str, Any]:
        """An unfinished window, for a checkpoint."""
        if self.sums is None:
            return {"names": [], "sums": [], "pairs": 0}
        sums, counts, (pairs, skipped, loss) = self._read(self.sums, reduce)
        window = {"names": self.names, "sums": sums, "counts": counts}
        return {**window, "pairs": int(pairs), "skipped": int(skipped), "skipped_loss": loss}

    def load_state(self, state: Mapping[str, Any], device: torch.device) -> None:
        """Puts a checkpoint's window back."""
        self.clear()
        if state["pairs"]:
            exact = torch.float64 if device.type != "mps" else torch.float32
            self.names, self.pairs = list(state["names"]), state["pairs"]
            self.sums = torch.tensor([state["sums"], state["counts"]], dtype=exact, device=device)
            self.skipped, self.skipped_loss = state["skipped"], state["skipped_loss"]

    def _read(
        self, sums: Tensor, reduce: Callable[[Tensor], Tensor] | None
    ) -> tuple[list[float], list[float], list[float]]:
        """The window's sums, their counts, and the counts of pairs, over all processes: one wait for the device."""
        whole = torch.tensor([self.pairs, self.skipped, self.skipped_loss], dtype=sums.dtype, device=sums.device)
        vector = torch.cat([sums.flatten(), whole])
        found: list[float] = (vector if reduce is None else reduce(vector)).tolist()
        size = sums.shape[1]
        return found[:size], found[size : 2 * size], found[2 * size :]


def _all(value: Tensor, like: Tensor) -> Tensor:
    return value.to(like).expand(len(like))


def _logratios(scores: PairLogps) -> tuple[Tensor, Tensor | None]:
    return scores.chosen_logratio, None if scores.rejected is None else scores.rejected_logratio


def _sides(
    name: str, chosen: Tensor | None, rejected: Tensor | None, good: Tensor | None = None, factor: float = 1.0
) -> Rows:
    """A number of both sides, under a name with a gap: of pairs each candidate's, of single examples the one
    candidate's, told apart by which are ``good``."""
    if chosen is None:
        return {}
    found: Rows = {name.format("chosen"): (factor * chosen, good)}
    if good is not None:
        found[name.format("rejected")] = (factor * chosen, ~good)
    elif rejected is not None:
        found[name.format("rejected")] = (factor * rejected, None)
    return found
