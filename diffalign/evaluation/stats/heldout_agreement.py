"""Held-out agreement: on how many pairs that were not trained on the policy sides with the label, and how sure that is.

Read from the metrics of a run: the shares are those of :data:`KINDS`, over ``eval_pairs`` pairs. Several looks
at a pair (noise levels of a denoiser) count as one, since they resemble each other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from diffalign.evaluation.stats.statistics import Share, percent, share

KINDS = {
    "eval_rewards/accuracies": ("implicit accuracy", "its implicit reward ranks chosen above rejected"),
    "eval_accuracy/ranking": (
        "ranking accuracy",
        "it gives chosen the higher probability, whatever its reference says",
    ),
    "eval_accuracy/ranking_per_token": (
        "ranking accuracy per token",
        "it gives chosen the higher probability per token, so that length does not count",
    ),
}
"""Column of the metrics to its name and what it says of the model."""


@dataclass(frozen=True)
class Agreement:
    """One accuracy on held-out pairs.

    Args:
        name: ``"implicit accuracy"`` or ``"ranking accuracy"``.
        meaning: What the model does in this share of pairs.
        share: The share with its 95 % Wilson interval.
    """

    name: str
    meaning: str
    share: Share

    def summary(self) -> str:
        """One sentence."""
        found = self.share
        return (
            f"On {percent(found.rate)} of {found.n} held-out pairs {self.meaning} "
            f"({self.name}; 95 % interval {percent(found.low)} to {percent(found.high)})."
        )


def agreements(rows: Sequence[Mapping[str, Any]]) -> list[Agreement]:
    """Those of the last look at held-out pairs; none where there was none."""
    last: Mapping[str, Any] = next((row for row in reversed(rows) if row.get("eval_pairs")), {})
    return [
        Agreement(*words, share(last[column] * last["eval_pairs"], round(last["eval_pairs"])))
        for column, words in KINDS.items()
        if isinstance(last.get(column), (int, float)) and 0 <= last[column] <= 1
    ]
