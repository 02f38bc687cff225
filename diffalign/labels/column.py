"""Labels from columns: each record's probability and, where the recipe names columns, a weight and a margin."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from diffalign.data.records.pair import Pair
from diffalign.errors import DataError
from diffalign.labels.label import Label


def column(pairs: Sequence[Pair], *, weight: str = "", margin: str = "") -> Label:
    """Probability as stored in the record (a share of votes, a calibrated scorer).

    Args:
        pairs: A batch of records.
        weight: Name of the column with each pair's factor on its loss, 0 or more; "": every factor is 1.
        margin: Name of the column with the reward by which the chosen candidate is ahead, subtracted from ``beta``
            times the margin (an adaptive margin); "": none.

    Raises:
        DataError: A probability outside [0, 1], a negative weight, a column that a row lacks; with the row.

    Sources: adaptive margins: Wang et al. 2024 (arXiv 2401.06080), section 2; Touvron et al. 2023 (arXiv 2307.09288),
        eq. 2.
    """
    for pair in pairs:
        if not 0.0 <= pair.probability <= 1.0:
            raise DataError(
                f"{pair.source or pair.id}: probability is how likely the chosen candidate is the better one, so it "
                f"must lie in [0, 1]; got {pair.probability}. Percentages are divided by 100."
            )
    probability = torch.tensor([pair.probability for pair in pairs], dtype=torch.float64)
    weights = _read(pairs, weight, "weight") if weight else torch.ones_like(probability)
    if bool((weights < 0.0).any()):
        worst = pairs[int(weights.argmin())]
        raise DataError(
            f"{worst.source or worst.id}: a weight is a factor on the pair's loss, so it cannot be negative; got "
            f"{float(weights.min()):g}. To swap a pair give it a label_prob below one half."
        )
    return Label(probability=probability, weight=weights, offset=_read(pairs, margin, "margin") if margin else None)


def _read(pairs: Sequence[Pair], name: str, setting: str) -> Tensor:
    values = [pair.scores.get("pair", {}).get(name, math.nan) for pair in pairs]
    for pair, value in zip(pairs, values, strict=True):
        if math.isnan(value):
            columns = ", ".join(pair.scores.get("pair", {})) or "none"
            raise DataError(
                f"{pair.source or pair.id} has no number in the column '{name}', which labels.{setting} names; numeric "
                f"columns of the pair: {columns}."
            )
    return torch.tensor(values, dtype=torch.float64)
