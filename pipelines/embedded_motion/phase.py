"""Reads a clip's direction by phase correlation of neighbouring frames: a third opinion, from OpenCV.

It knows displacements only, so it has no opinion on growing clips.
"""

import numpy as np

from diffalign.scorers.clips.optical_flow import load_cv2

STILL = 3.0
"""Displacement in pixels over the whole clip below which nothing moves."""


def displacement(frames: np.ndarray) -> tuple[float, float]:
    """Returns the whole displacement (x, y) in pixels over the frames ``(F, H, W, 3)`` uint8.

    Each step is read in the channel in which the two frames vary most.
    """
    cv2 = load_cv2("motion_facts:phase")
    window = cv2.createHanningWindow(frames.shape[2:0:-1], cv2.CV_32F)
    total = np.zeros(2)
    for before, after in zip(frames[:-1].astype(np.float32), frames[1:].astype(np.float32), strict=True):
        channel = int((before.std((0, 1)) + after.std((0, 1))).argmax())
        shift, _ = cv2.phaseCorrelate(before[..., channel].copy(), after[..., channel].copy(), window)
        total += shift
    return float(total[0]), float(total[1])


def direction(frames: np.ndarray) -> str:
    """Returns leftwards, rightwards, upwards, downwards or still."""
    x, y = displacement(frames)
    if x * x + y * y < STILL**2:
        return "still"
    if abs(x) > abs(y):
        return "rightwards" if x > 0 else "leftwards"
    return "downwards" if y > 0 else "upwards"
