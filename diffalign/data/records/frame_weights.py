"""Weights of a clip's frames: how much each counts in the error of a pair.

    e = mean_f w_f e_f,      w_f >= 0, scaled to mean 1

A column ``frame_weights`` holds one number per frame that the model sees (``model.clip.frames``), for both clips of the
pair. Only ratios count: (2, 2, 0, 0) is (1, 1, 0, 0), and equal weights are none.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Any

from diffalign.data.records.pair import Pair
from diffalign.errors import ConfigError, DataError

FRAME_WEIGHTS = "frame_weights"
"""The column."""


def parse_frame_weights(cell: Any) -> tuple[float, ...]:
    """Returns the weights of a cell: a list of numbers, also written as JSON; () of an empty cell.

    Raises:
        DataError: They are no numbers of 0 or more, or all are 0.
    """
    if isinstance(cell, str) and cell.strip().startswith("["):
        with suppress(ValueError):  # the sentence below shows the text
            cell = json.loads(cell)
    if cell is None or cell == "" or cell == []:
        return ()
    numbers = [number for number in cell if _is_number(number)] if isinstance(cell, (list, tuple)) else []
    if not numbers or len(numbers) != len(cell) or min(numbers) < 0 or max(numbers) == 0:
        raise DataError(
            f"{FRAME_WEIGHTS} must hold one number of 0 or more per frame, not all 0, such as [1, 1, 0, 0]; got "
            f"{str(cell)[:80]}"
        )
    return tuple(float(number) for number in numbers)


def scaled_to_mean_one(weights: Sequence[float]) -> list[float]:
    """Returns the weights times a factor that makes their mean 1; exactly 1.0 each where all are equal."""
    if len(set(weights)) == 1:
        return [1.0] * len(weights)
    largest = max(weights)  # the sum of shares of the largest is finite
    total = math.fsum(weight / largest for weight in weights)
    return [weight / largest * len(weights) / total for weight in weights]


def are_equal(weights: Sequence[float]) -> bool:
    """Returns whether the weights change nothing: there are none, or all are equal."""
    return len(set(weights)) <= 1


def check_frame_weights(pairs: Iterable[Pair], frames: int | None) -> None:
    """Raises where a pair's weights do not fit the model.

    Args:
        pairs: The pairs.
        frames: Frames of the model's clips; None: it makes no clips.

    Raises:
        ConfigError: The model makes images or texts.
        DataError: A wrong number of weights, or weights that are none.
    """
    for pair in pairs:
        if not pair.frame_weights:
            continue
        where = pair.source or f"pair '{pair.id}'"
        if frames is None:
            raise ConfigError(
                f"{where} has {FRAME_WEIGHTS}, which weigh the frames of a clip, but this model makes no clips. Remove "
                f"the column, or leave it out: --set 'data.options={{ignore: [{FRAME_WEIGHTS}]}}'"
            )
        try:
            parse_frame_weights(list(pair.frame_weights))
        except DataError as error:
            raise DataError(f"{where}: {error}.") from error
        if len(pair.frame_weights) != frames:
            raise DataError(
                f"{where} has {len(pair.frame_weights)} {FRAME_WEIGHTS}, but the model's clips have {frames} frames. "
                f"Give one weight per frame, or type: --set model.clip.frames={len(pair.frame_weights)}"
            )


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
