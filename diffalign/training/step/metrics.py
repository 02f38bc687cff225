"""Running means of a log window's metrics.

Sums and counts are kept in one small tensor on the device and read once per log line: no micro-batch waits for a
number. Every value is a mean over those pairs of the window that it is about, so batch 8 and 8 accumulated ones log the
same.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from diffalign.evaluation.stats.last_records import ACCURACY, PAIRS
from diffalign.losses import Objective
from diffalign.training.step.micro_batch_metrics import Rows
from diffalign.training.step.skip_zero_weight_pairs import SkippedPairs


class Metrics:
    """Running sums of one log window.

    Args:
        loss: The loss that is trained on.
    """

    def __init__(self, loss: Objective) -> None:
        self.loss = loss
        self.names: list[str] = []
        self.sums: Tensor | None = None
        """``(2, len(names))``: sums and counts."""
        self.pairs = 0
        self.skipped = 0
        self.skipped_loss = 0.0
        self.skipped_weight = 0.0

    @torch.no_grad()
    def add(self, rows: Rows) -> None:
        """Adds the metrics of a micro-batch."""
        device = rows["loss"][0].device
        values = torch.stack([value.to(device, _sum_dtype(device)) for value, _ in rows.values()])
        masks = torch.stack(
            [torch.ones_like(value, dtype=torch.bool) if mask is None else mask for value, mask in rows.values()]
        )
        sums = torch.stack([torch.where(masks, values, 0.0).sum(dim=1), masks.to(values.dtype).sum(dim=1)])
        self.sums = sums if self.sums is None else self._sums_under(list(rows)) + sums
        self.names = list(rows)
        self.pairs += len(rows["loss"][0])

    def skip(self, skipped: SkippedPairs) -> None:
        """Adds the known losses of pairs that were left out because they have no gradient."""
        self.skipped += len(skipped.losses)
        self.skipped_loss += float(skipped.losses.sum())
        self.skipped_weight += float(skipped.weights.sum())

    def read(self, reduce: Callable[[Tensor], Tensor] | None = None) -> dict[str, float]:
        """Returns the means of the window so far, by name; the only place that waits for the device.

        Args:
            reduce: Sums a tensor over all processes.
        """
        if self.sums is None:
            return {}
        sums, counts, (_, skipped, skipped_loss, skipped_weight) = self._read(self.sums, reduce)
        table = {name: (total, count) for name, total, count in zip(self.names, sums, counts, strict=True) if count}
        record = {name: total / count for name, (total, count) in table.items()}
        for name in [name for name in table if name.startswith(ACCURACY)]:  # how many pairs an accuracy is about
            record[name.replace(ACCURACY, PAIRS)] = table[name][1]
        if self.loss.lead.loss.accepts_undesirable and {"rewards/chosen", "rewards/rejected"} <= record.keys():
            record["rewards/margins"] = record["rewards/chosen"] - record["rewards/rejected"]
        if skipped:  # they count in the loss and its terms, and in nothing that needs a log-probability
            known_sums = {"loss": skipped_loss}
            for name, at_zero in (self.loss.term_losses_at_zero or {}).items():
                known_sums[f"loss/{name}"] = skipped_weight * at_zero
            for name, (total, count) in table.items():
                if name == "loss" or name.startswith("loss/"):
                    record[name] = (total + known_sums.get(name, 0.0)) / (count + skipped)
            record["label/skipped"] = skipped / (table["loss"][1] + skipped)
        return record

    def clear(self) -> None:
        """Starts a new window."""
        self.sums, self.pairs = None, 0
        self.skipped, self.skipped_loss, self.skipped_weight = 0, 0.0, 0.0

    def state(self, reduce: Callable[[Tensor], Tensor] | None = None) -> dict[str, Any]:
        """Returns an unfinished window, for a checkpoint."""
        if self.sums is None:
            return {"names": [], "sums": [], "pairs": 0}
        sums, counts, (pairs, skipped, loss, weight) = self._read(self.sums, reduce)
        window = {"names": self.names, "sums": sums, "counts": counts, "pairs": int(pairs)}
        return {**window, "skipped": int(skipped), "skipped_loss": loss, "skipped_weight": weight}

    def load_state(self, state: Mapping[str, Any], device: torch.device) -> None:
        """Restores the window of a checkpoint."""
        self.clear()
        if state["pairs"]:
            self.names, self.pairs = list(state["names"]), state["pairs"]
            self.sums = torch.tensor([state["sums"], state["counts"]], dtype=_sum_dtype(device), device=device)
            self.skipped, self.skipped_loss = state["skipped"], state["skipped_loss"]
            self.skipped_weight = state.get("skipped_weight", 0.0)  # older checkpoints lack it

    def _sums_under(self, names: list[str]) -> Tensor:
        """Returns the sums so far in the columns of ``names``: a checkpoint of an older version may lack some."""
        assert self.sums is not None
        if names == self.names:
            return self.sums
        sums = self.sums.new_zeros(2, len(names))
        shared = [name for name in names if name in self.names]
        sums[:, [names.index(name) for name in shared]] = self.sums[:, [self.names.index(name) for name in shared]]
        return sums

    def _read(
        self, sums: Tensor, reduce: Callable[[Tensor], Tensor] | None
    ) -> tuple[list[float], list[float], list[float]]:
        """Returns the window's sums, their counts, and the totals over all pairs, over all processes: one wait for the
        device.
        """
        totals = [self.pairs, self.skipped, self.skipped_loss, self.skipped_weight]
        vector = torch.cat([sums.flatten(), torch.tensor(totals, dtype=sums.dtype, device=sums.device)])
        values: list[float] = (vector if reduce is None else reduce(vector)).tolist()
        size = sums.shape[1]
        return values[:size], values[size : 2 * size], values[2 * size :]


def _sum_dtype(device: torch.device) -> torch.dtype:
    return torch.float64 if device.type != "mps" else torch.float32
