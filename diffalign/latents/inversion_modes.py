"""Modes of an inversion: "exact" ends at the drawn level, "released" behaves like the published scripts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from torch import Tensor

from diffalign.latents.estimator import Latent, Predict
from diffalign.latents.estimator_settings import EstimatorSetting, one_of, whole
from diffalign.latents.inversion import Jitter, invert
from diffalign.latents.inversion_path import Clean, exact_path, exact_steps
from diffalign.latents.released_inversion import relabel_level, released_path, released_steps
from diffalign.latents.schedule import Schedule

Mode = Literal["exact", "released"]

LIMITS: Mapping[str, EstimatorSetting] = {
    "steps": whole(
        1,
        "the number of steps that an inversion to the noisiest level takes; lower levels take fewer in proportion",
        "The papers take 10.",
    ),
    "clean": one_of(
        ("one", "alpha0"),
        "the level that the clean latent is treated as: free of noise (one) or at level 0 (alpha0)",
        "Leave it out for the mode's own value: one if exact, alpha0 if released.",
        by_mode=True,
    ),
    "mode": one_of(
        ("exact", "released"),
        "how the level is reached: exact, or past it as in the released scripts",
        "Leave it at exact; released is for reproducing published runs.",
    ),
}
"""Settings that every inversion has."""


def invert_to_level(
    x0: Tensor,
    t: Tensor,
    schedule: Schedule,
    predict: Predict,
    *,
    steps: int,
    mode: Mode = "exact",
    clean: Clean | None = None,
    corrections: int = 0,
    average: bool = False,
    eta: float = 0.0,
    jitter: Jitter | None = None,
) -> Latent:
    """Returns inverted latents, and as their target the output of a perfect network for the noise that leads there.

    Args:
        x0: ``(B, ...)`` clean latents.
        t: ``(B,)`` levels.
        schedule: The model's noise schedule.
        predict: The network.
        steps: ``N``, from 1 to the number of levels (half of it in released mode).
        mode: "exact" or "released".
        clean: Level that the clean latent is treated as; None: "one" if exact, "alpha0" if released.
        corrections: See :func:`~diffalign.latents.inversion.invert`; also ``average``, ``eta`` and ``jitter``.

    Facts: in exact mode ``x_t = a_t x0 + s_t tau`` and the target is that of ``tau``, as for any noise. For a network
        that always predicts the same noise, ``tau`` is that noise.
    """
    if not bool(((t >= 0) & (t < schedule.levels)).all()):
        raise ValueError(f"levels run from 0 to {schedule.levels - 1}; got {t.tolist()}")
    if not 1 <= steps <= schedule.levels:
        raise ValueError(f"steps is between 1 and the number of noise levels, here {schedule.levels}; got {steps}")
    options: dict[str, Any] = {"corrections": corrections, "average": average, "eta": eta, "jitter": jitter}
    if mode == "released":
        path = released_path(t, steps, schedule.levels, clean or "alpha0")
        tau = invert(x0, path, schedule, predict, correct_at="source", **options)
        return relabel_level(x0.detach(), tau, path.reached, t, schedule)
    path = exact_path(t, exact_steps(t, steps, schedule.levels), clean or "one", schedule.first_time)
    tau = invert(x0, path, schedule, predict, **options)
    wide = x0.detach().to(tau.dtype)
    x_t, target = schedule.add_noise(wide, tau, t), schedule.target(wide, tau, t)
    return Latent(x_t.to(x0.dtype), t, target.to(x0.dtype))


def steps_taken(t: Tensor, levels: int, settings: Mapping[str, Any]) -> Tensor:
    """Returns the number of steps of an inversion with these settings to each level, ``(B,)`` long."""
    count = released_steps if settings.get("mode") == "released" else exact_steps
    return count(t, settings["steps"], levels)
