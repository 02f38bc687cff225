"""Labels: a few numbers per pair for how certain the preference is, and the expected loss under them.

A new label is one function from a batch of pairs to a :class:`Label`, one import line and one entry in :data:`LABELS`.
"""

from collections.abc import Callable, Mapping

from diffalign.labels.column import column
from diffalign.labels.hard import hard
from diffalign.labels.label import ExpectedLoss, Gate, Label, expected, expected_terms, swapped_by, without_gradient
from diffalign.labels.label_noise import label_noise
from diffalign.labels.score_scaled import score_scaled
from diffalign.labels.seppo_gate import seppo_gate

LABELS: dict[str, Callable[..., Label]] = {
    "hard": hard,
    "label_noise": label_noise,
    "column": column,
    "seppo_gate": seppo_gate,
    "score_scaled": score_scaled,
}
"""Every label by name; the first is the default. Keyword arguments are the label's own settings."""

LABEL_ALIASES: Mapping[str, str] = {"flipped": "label_noise", "anchor": "seppo_gate", "smoothed": "score_scaled"}
"""Other names that recipes may use, and the name in :data:`LABELS` that each stands for."""

__all__ = [
    "LABELS",
    "LABEL_ALIASES",
    "ExpectedLoss",
    "Gate",
    "Label",
    "column",
    "expected",
    "expected_terms",
    "hard",
    "label_noise",
    "score_scaled",
    "seppo_gate",
    "swapped_by",
    "without_gradient",
]
