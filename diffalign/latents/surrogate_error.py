"""The surrogate error: the squared distance between a prediction and its target, one number per example."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor


def mean_squared_error(
    prediction: Tensor,
    target: Tensor,
    *,
    reduction: Literal["mean", "sum"] = "mean",
    mask: Tensor | None = None,
    weights: Tensor | None = None,
) -> Tensor:
    """Returns the squared error over all axes but the first.

        e_b = mean over the elements of (prediction_b - target_b)^2

    Args:
        prediction: ``(B, ...)``.
        target: ``(B, ...)``, the same shape.
        reduction: "sum" multiplies by the number of elements that count; a beta tuned for a mean is then that much too
            strong (see ``equivalent_betas``).
        mask: Broadcastable to ``(B, ...)``; 0 where an element does not count. A row without any element has error 0.
        weights: Broadcastable to ``(B, ...)``, of mean 1 in each row: a factor on each element's square. Weights of 1
            change nothing, to the bit.

    Returns:
        ``(B,)`` float32 (float64 for float64 inputs). Both inputs are cast *before* the subtraction: an error of 0.8
        rounded to bfloat16 adds a noise of 5 in the sigmoid at beta 5000.
    """
    if prediction.shape != target.shape:
        raise ValueError(f"prediction and target must agree; got {tuple(prediction.shape)} and {tuple(target.shape)}")
    if reduction not in ("mean", "sum"):
        raise ValueError(f"a squared error is reduced by 'mean' or 'sum'; got {reduction!r}")
    dtype = torch.promote_types(torch.promote_types(prediction.dtype, target.dtype), torch.float32)
    squares = (prediction.to(dtype) - target.to(dtype)).square()
    if weights is not None:
        squares = squares * weights.to(dtype)
    if mask is None:
        rows = squares.flatten(1)
        return rows.mean(1) if reduction == "mean" else rows.sum(1)
    counts = mask.to(dtype).expand_as(squares)
    total = (squares * counts).flatten(1).sum(1)
    return total / counts.flatten(1).sum(1).clamp(min=1.0) if reduction == "mean" else total
