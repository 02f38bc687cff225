"""Optical flow between two frames, by OpenCV: no weights, a few milliseconds per frame on one core.

`dis` is dense inverse search with its medium preset, `farneback` a polynomial expansion. Flow on noise is meaningless:
both find large motion in it.

Sources: Kroeger et al. 2016 (arXiv 1603.03590); Farnebäck 2003 (SCIA), "Two-frame motion estimation based on polynomial
expansion".
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from diffalign.errors import DataError, UserError, near_miss
from diffalign.scorers.scorer import missing_package

Flow = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""``flow(before, after)`` of two RGB frames ``(H, W, 3)`` uint8 returns ``(H, W, 2)``: how far each pixel of ``before``
moves to the right and down, in pixels.
"""
FLOWS = ("dis", "farneback")
SMALLEST_SIDE = 16
"""Pixels below which the methods see no structure."""


def load_flow(method: str, scorer: str) -> Flow:
    """Returns a method of :data:`FLOWS`; empty for ``dis``.

    Args:
        method: Its name.
        scorer: The scorer that needs it, for messages.

    Raises:
        UserError: There is no such method, or OpenCV is not installed.
    """
    method = method or FLOWS[0]
    if method not in FLOWS:
        raise UserError(
            f"{scorer} takes a method of optical flow, {' or '.join(FLOWS)}; got '{method}'.{near_miss(method, FLOWS)} "
            f"Write: --scorer {scorer}:{FLOWS[0]}"
        )
    load_cv2(scorer)
    return _dis if method == "dis" else _farneback


def load_cv2(scorer: str = "optical flow") -> Any:
    """Returns OpenCV. Raises UserError if it is not installed."""
    try:
        import cv2
    except ImportError as error:
        raise missing_package(scorer, "OpenCV", "flow") from error
    return cv2


def _dis(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    cv2 = load_cv2()
    # a fresh solver each time: one that has seen a small picture keeps its scales for larger ones
    solver = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    return np.asarray(solver.calc(_grey(before), _grey(after), None))


def _farneback(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    return np.asarray(load_cv2().calcOpticalFlowFarneback(_grey(before), _grey(after), None, 0.5, 3, 15, 3, 5, 1.2, 0))


def _grey(frame: np.ndarray) -> np.ndarray:
    if min(frame.shape[:2]) < SMALLEST_SIDE:
        raise DataError(
            f"optical flow needs frames of at least {SMALLEST_SIDE} pixels a side; got {frame.shape[1]} x "
            f"{frame.shape[0]}. Leave the clip out, or make it larger."
        )
    cv2 = load_cv2()
    return np.asarray(cv2.cvtColor(np.ascontiguousarray(frame), cv2.COLOR_RGB2GRAY))
