"""Samples by prompt: samples of one prompt are alike, so a test or an interval counts prompts, not samples."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np


def number_prompts(prompts: Sequence[Hashable]) -> np.ndarray:
    """Returns the number of each sample's prompt, ``(N,)``: 0 for the first prompt that occurs, 1 for the next, ..."""
    numbers: dict[Any, int] = {}
    return np.array([numbers.setdefault(prompt, len(numbers)) for prompt in prompts], np.int64)


def prompt_means(values: Sequence[float] | np.ndarray, prompts: Sequence[Hashable] | None = None) -> np.ndarray:
    """Returns the mean of the finite values of each prompt, ``(P,)``; prompts without any are left out.

    Args:
        values: ``(N,)``.
        prompts: ``(N,)``; None if all are distinct.
    """
    numbers = np.asarray(values, np.float64).reshape(-1)
    finite = np.isfinite(numbers)
    if prompts is None:
        return numbers[finite]
    cluster = number_prompts([prompt for prompt, keep in zip(prompts, finite, strict=True) if keep])
    return np.bincount(cluster, numbers[finite]) / np.bincount(cluster)
