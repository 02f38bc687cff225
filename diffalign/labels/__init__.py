"""Labels: how sure we are of a comparison, a few numbers per pair, and the expected loss under them.

A new label is one function from a batch of records to a :class:`Label`, one import line and one row here.
"""

from collections.abc import Callable

from diffalign.labels.column import column
from diffalign.labels.hard import hard
from diffalign.labels.label import ExpectedLoss, Gate, Label, expected, expected_terms, swapped_by, without_gradient
from diffalign.labels.label_noise import flipped
from diffalign.labels.score_scaled import smoothed
from diffalign.labels.seppo_gate import anchor

LABELS: dict[str, Callable[..., Label]] = {
    "hard": hard,
    "flipped": flipped,
    "column": column,
    "anchor": anchor,
    "smoothed": smoothed,
}
"""Every label by name; the first is the default. Keyword arguments are the label's own settings."""

__all__ = [
    "LABELS",
    "ExpectedLoss",
    "Gate",
    "Label",
    "anchor",
    "column",
    "expected",
    "expected_terms",
    "flipped",
    "hard",
    "swapped_by",
    "without_gradient",
    "smoothed",
]
