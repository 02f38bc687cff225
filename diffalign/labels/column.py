"""Labels from a column: each record brings its own probability."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from diffalign.data.records import Pair
from diffalign.errors import DataError
from diffalign.labels.label import Label


def column(pairs: Sequence[Pair]) -> Label:
    """Probability as the record states it (a share of votes, a calibrated judge), weight 1.

    Raises DataError for a probability outside [0, 1], with the row it came from.
    """
    for pair in pairs:
        if not 0.0 <= pair.probability <= 1.0:
            raise DataError(
                f"{pair.source or pair.id}: probability says how likely the chosen candidate is the better one, so it "
                f"must lie in [0, 1]; got {pair.probability}. Percentages are divided by 100."
            )
    probability = torch.tensor([pair.probability for pair in pairs], dtype=torch.float64)
    return Label(probability=probability, weight=torch.ones_like(probability))
