"""Follows the curves of a run: warnings while it trains, a summary at its end."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from diffalign.evaluation.stats.last_records import WINDOW
from diffalign.training.report.diagnosis import diagnose
from diffalign.training.report.trends import Mean, Record


def summary(records: Sequence[Record], *, beta: float, learning_rate: float, reference: bool = True) -> list[str]:
    """Returns the summary at the end of a run: one sentence or two per finding; never empty."""
    findings = diagnose(records, beta=beta, learning_rate=learning_rate, reference=reference)
    if records and not (reference and "rewards/margins" in records[-1]):
        return [_without_margins(records)]
    if not findings:
        return ["The run was too short, or too noisy, to show whether it learns; look at the samples."]
    return [finding.text for finding in findings]


def _without_margins(records: Sequence[Record]) -> str:
    """Returns the summary of a run without margins against a reference: its first and its last numbers."""
    shown = {"loss": "mean loss", "rewards/accuracies": "share of pairs whose chosen candidate is the likelier one"}
    parts = [(Mean.of(records[:WINDOW], name), Mean.of(records[-WINDOW:], name), text) for name, text in shown.items()]
    went = [f"the {text} went from {a.value:.4g} to {b.value:.4g}" for a, b, text in parts if not math.isnan(b.value)]
    return (
        "Without two sides and a reference there are no margins to diagnose. In the first and last "
        f"{WINDOW} records {' and '.join(went)}; look at the samples."
    )


class Health:
    """Follows a run: each alarm is reported once, when it first occurs in two records in a row.

    Args:
        beta: For advice.
        learning_rate: The peak rate, for advice.
        records: Records of an earlier part of the run.
        reference: Whether rewards are relative to a reference.
    """

    def __init__(
        self, beta: float, learning_rate: float, records: Sequence[Record] = (), reference: bool = True
    ) -> None:
        self._settings: dict[str, Any] = {"beta": beta, "learning_rate": learning_rate, "reference": reference}
        self.records: list[Record] = []
        self.reported: set[str] = set()
        self.pending: set[str] = set()
        for record in records:
            self.observe(record)

    def observe(self, record: Record) -> list[str]:
        """Adds a record and returns the new alarms."""
        self.records.append(record)
        found = diagnose(self.records, **self._settings)
        alarms = {finding.name: finding.text for finding in found if finding.state == "alarm"}
        new = [name for name in alarms if name in self.pending and name not in self.reported]
        self.pending = set(alarms)
        self.reported |= set(new)
        return [alarms[name] for name in new]

    def summary(self) -> list[str]:
        """Returns the summary of the curves so far."""
        return summary(self.records, **self._settings)

    def again(self, records: Sequence[Record]) -> Health:
        """Returns a fresh one for the same run, after these records."""
        return Health(**self._settings, records=records)


def first_loss_alarm(loss: float, at_zero: float) -> str | None:
    """Returns a warning where the loss before the first update is not the loss of a policy equal to its reference.

    Args:
        loss: Mean loss of the first step.
        at_zero: The loss at margin 0, times the mean weight of the labels.
    """
    if abs(loss - at_zero) <= 1e-3 * max(1.0, abs(at_zero)):
        return None
    return (
        f"The first loss is {loss:.6g}, but with policy and reference equal it is {at_zero:.6g}: they do not compute "
        "the same numbers. Check whether the adapter starts at zero, whether a stored reference belongs to this "
        "model, and whether both run in one precision (--set train.mixed_precision=no)."
    )
