"""Held-out agreement: the share of held-out pairs on which the policy agrees with the label, with an interval.

The shares are the metrics of a run in :data:`AGREEMENT_METRICS`, over ``eval_pairs`` pairs. Several draws of a pair
(noise levels of a denoiser) count as one, because they are correlated.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from diffalign.evaluation.stats.rates.share import Share, percent, share

AGREEMENT_METRICS = {
    "eval_rewards/accuracies": ("implicit accuracy", "its implicit reward ranks chosen above rejected"),
    "eval_accuracy/ranking": (
        "ranking accuracy",
        "it gives chosen the higher probability, independent of its reference",
    ),
    "eval_accuracy/ranking_per_token": (
        "ranking accuracy per token",
        "it gives chosen the higher probability per token, so that length does not count",
    ),
}
"""Metric to its name and its meaning."""


@dataclass(frozen=True)
class Agreement:
    """One accuracy on held-out pairs.

    Args:
        name: ``"implicit accuracy"`` or ``"ranking accuracy"``.
        meaning: A sentence about the model, true for this share of pairs.
        share: The share with its 95 % Wilson interval.
    """

    name: str
    meaning: str
    share: Share

    def summary(self) -> str:
        """Returns one sentence."""
        return (
            f"On {percent(self.share.rate)} of {self.share.n} held-out pairs {self.meaning} "
            f"({self.name}; 95 % interval {percent(self.share.low)} to {percent(self.share.high)})."
        )


def agreements(rows: Sequence[Mapping[str, Any]]) -> list[Agreement]:
    """Returns the agreements of the last evaluation on held-out pairs; an empty list without one."""
    last: Mapping[str, Any] = next((row for row in reversed(rows) if row.get("eval_pairs")), {})
    return [
        Agreement(name, meaning, share(last[metric] * last["eval_pairs"], round(last["eval_pairs"])))
        for metric, (name, meaning) in AGREEMENT_METRICS.items()
        if isinstance(last.get(metric), (int, float)) and 0 <= last[metric] <= 1
    ]
