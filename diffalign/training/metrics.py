"""Metrics, under the names that users of TRL know, plus what a denoiser adds.

Sums are kept in one small tensor on the device and read once per log line: no micro-batch waits for a number. Every
value is a mean over the pairs of the window, so batch 8 and 8 accumulated ones log the same.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from diffalign.losses import BoundLoss, PairScores, accuracy

BINS = 5
"""Noise levels are reported in this many equal bins of [0, 1)."""
SATURATED = 0.05
"""A pair counts as saturated when its slope has fallen below this share of the slope at margin 0."""


class Metrics:
    """Running sums of one log window.

    Args:
        loss: The bound loss: it knows the implicit rewards and where its slope dies.
    """

    def __init__(self, loss: BoundLoss) -> None:
        self.loss = loss
        self.names: list[str] = []
        self.sums: Tensor | None = None
        self.pairs = 0
        self.skipped = 0
        self.skipped_loss = 0.0

    @torch.no_grad()
    def add(self, scores: PairScores, losses: Tensor, info: Mapping[str, Tensor]) -> None:
        """Adds a micro-batch.

        Args:
            scores: Its scores.
            losses: ``(B,)``, the loss of each pair.
            info: The policy's diagnostics. With a ``"level"`` the policy is a denoiser, whose logp is ``-e/2``: its
                errors against the reference are reported too.
        """
        chosen, rejected = self.loss.rewards(scores)
        rows = {"loss": losses, "rewards/chosen": chosen, "logps/chosen": scores.chosen.logps}
        right = None
        if scores.rejected is not None and rejected is not None:
            right = accuracy(scores.margin if self.loss.loss.needs_reference else chosen - rejected)
            rows |= {
                "rewards/rejected": rejected,
                "rewards/margins": chosen - rejected,
                "rewards/accuracies": right,
                "logps/rejected": scores.rejected.logps,
                "health/margin_size": (chosen - rejected).abs(),
            }
        if self.loss.loss.takes == "margin" and self.loss.loss.needs_reference:
            rows["health/saturated"] = (self.loss.saturation(scores) < SATURATED).float()
        level = info.get("level")
        if level is not None and self.loss.loss.needs_reference:
            rows["error/chosen_change"] = -2.0 * scores.chosen_logratio
            if scores.rejected is not None:
                rows["error/rejected_change"] = -2.0 * scores.rejected_logratio
        if "gate" in info:  # near a half by rounding noise where policy and reference are all but equal
            rows["label/flipped"] = (info["gate"] < 0).float()
        exact = torch.float64 if losses.device.type != "mps" else torch.float32
        sums = [torch.stack([row.detach().to(exact) for row in rows.values()]).sum(dim=1)]
        names = list(rows)
        if level is not None and right is not None:
            bins = (level.to(losses.device) * BINS).long().clamp_(0, BINS - 1)
            hits = torch.zeros(BINS, dtype=exact, device=losses.device).index_add_(0, bins, right.to(exact))
            seen = torch.zeros_like(hits).index_add_(0, bins, torch.ones_like(right, dtype=exact))
            sums += [hits, seen]
            names += [f"hits/{k}" for k in range(BINS)] + [f"seen/{k}" for k in range(BINS)]
        total = torch.cat(sums)
        self.sums, self.names = total if self.sums is None else self.sums + total, names
        self.pairs += len(losses)

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
        *values, pairs, skipped, skipped_loss = self._vector(self.sums, reduce)
        table = dict(zip(self.names, values, strict=True))
        record = {name: value / pairs for name, value in table.items() if not name.startswith(("hits/", "seen/"))}
        if skipped:  # they count in the loss, and in nothing that needs a score
            record["loss"] = (table["loss"] + skipped_loss) / (pairs + skipped)
            record["label/skipped"] = skipped / (pairs + skipped)
        for k in range(BINS):
            if table.get(f"seen/{k}"):
                record[f"accuracy/level_{k / BINS:.1f}-{(k + 1) / BINS:.1f}"] = table[f"hits/{k}"] / table[f"seen/{k}"]
        return record

    def clear(self) -> None:
        """Starts a new window."""
        self.sums, self.pairs, self.skipped, self.skipped_loss = None, 0, 0, 0.0

    def state(self, reduce: Callable[[Tensor], Tensor] | None = None) -> dict[str, Any]:
        """An unfinished window, for a checkpoint."""
        if self.sums is None:
            return {"names": [], "sums": [], "pairs": 0}
        *sums, pairs, skipped, loss = self._vector(self.sums, reduce)
        return {"names": self.names, "sums": sums, "pairs": int(pairs), "skipped": int(skipped), "skipped_loss": loss}

    def load_state(self, state: Mapping[str, Any], device: torch.device) -> None:
        """Puts a checkpoint's window back."""
        self.clear()
        if state["pairs"]:
            exact = torch.float64 if device.type != "mps" else torch.float32
            self.names, self.pairs = list(state["names"]), state["pairs"]
            self.sums = torch.tensor(state["sums"], dtype=exact, device=device)
            self.skipped, self.skipped_loss = state["skipped"], state["skipped_loss"]

    def _vector(self, sums: Tensor, reduce: Callable[[Tensor], Tensor] | None) -> list[float]:
        """The window's sums, with its counts behind them, over all processes: one wait for the device."""
        counts = torch.tensor([self.pairs, self.skipped, self.skipped_loss], dtype=sums.dtype, device=sums.device)
        vector = torch.cat([sums, counts])
        return (vector if reduce is None else reduce(vector)).tolist()
