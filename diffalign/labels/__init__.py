"""Labels: a few numbers per pair for how certain the preference is, and the expected loss under them.

A new label is one function from a batch of pairs to a :class:`Label`, one import line and one entry in :data:`LABELS`.
"""

from collections.abc import Callable, Mapping

from diffalign.errors import ConfigError
from diffalign.labels.column import column
from diffalign.labels.hard import hard
from diffalign.labels.label import ExpectedLoss, Gate, Label, expected, expected_terms, swapped_by, without_gradient
from diffalign.labels.label_noise import label_noise
from diffalign.labels.score_scaled import score_scaled
from diffalign.labels.seppo_gate import seppo_gate
from diffalign.register_row import register_row

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

_BUILT_IN = frozenset([*LABELS, *LABEL_ALIASES])


def register_label(name: str, function: Callable[..., Label], *, replace: bool = False) -> Callable[..., Label]:
    """Adds a label from outside the package.

    Args:
        name: Its name in recipes.
        function: ``function(pairs, **settings)`` returns the labels of a batch, also of an empty one; the first line of
            its docstring is its line in `diffalign methods`.
        replace: Whether it takes the place of a label of that name that was registered before.

    Returns:
        The function.

    Raises:
        ConfigError: The name is taken, or it is no function with a docstring.
    """
    if not callable(function) or not (function.__doc__ or "").strip():
        raise ConfigError(
            f"a label is a function of pairs with a docstring, which `diffalign methods` shows; got {function!r}."
        )
    register_row("label", LABELS, name, function, built_in=_BUILT_IN, replace=replace)
    return function


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
    "register_label",
    "score_scaled",
    "seppo_gate",
    "swapped_by",
    "without_gradient",
]
