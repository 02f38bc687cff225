"""From a clean latent to the level where it is scored: the settings that all inversions have.

mode          exact: to the drawn level; released: as the published scripts
start         null: from the clean latent; L: from x_L = a_L x0 + s_L eps, with the pair's forward noise
spacing       length of the first steps
unit_noise    what is done about a tau whose rms is not that of noise
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from torch import Tensor

from diffalign.latents.estimator import Latent, Noise, Predict
from diffalign.latents.estimator_settings import BY_MODE, EstimatorSetting, number, one_of, whole
from diffalign.latents.inversion import Jitter, invert
from diffalign.latents.inversion_path import Clean, exact_path, exact_steps
from diffalign.latents.released_inversion import relabel_level, released_path, released_steps
from diffalign.latents.schedule import CLEAN, Schedule
from diffalign.latents.unit_noise import UNIT_NOISE, UnitNoise, to_unit_noise

Mode = Literal["exact", "released"]

LIMITS: Mapping[str, EstimatorSetting] = {
    "steps": whole(
        1,
        "the number of steps that an inversion to the noisiest level takes; lower levels take fewer in proportion",
        "The papers take 10.",
    ),
    "start": whole(
        0,
        "the level up to which a candidate is noised forward, with the pair's noise, before the inversion begins",
        "Leave it out to begin at the clean latent, as published.",
        null="the clean latent",
    ),
    "spacing": number(
        1.0,
        "the power of the share of steps that gives the share of levels: 1 makes all steps equally long, 2 the first "
        "ones short",
        "Leave it at 1, as published.",
    ),
    "unit_noise": UNIT_NOISE,
    "clean": one_of(
        ("one", "alpha0"),
        "the level that the clean latent is treated as: free of noise (one) or at level 0 (alpha0)",
        "Leave it out for the mode's own value: one if exact, alpha0 if released.",
        null=BY_MODE,
    ),
    "mode": one_of(
        ("exact", "released"),
        "how the level is reached: exact, or past it as in the released scripts",
        "Leave it at exact; released is for reproducing published runs.",
    ),
}
"""Settings that every inversion has."""
NEUTRAL: Mapping[str, Any] = {"start": None, "spacing": 1.0, "unit_noise": None}
"""Values that leave the published inversion as it is."""


def check_settings(settings: Mapping[str, Any]) -> None:
    """Raises ValueError for settings that exclude each other."""
    changed = [name for name, value in NEUTRAL.items() if settings[name] != value]
    if settings.get("mode") == "released" and changed:
        raise ValueError(f"mode released inverts as the published scripts, which have no {changed[0]}. Leave out one")
    if settings["start"] is not None and settings["clean"] is not None:
        raise ValueError("an inversion with a start does not begin at the clean latent. Leave out clean or start")


def invert_to_level(
    x0: Tensor,
    t: Tensor,
    schedule: Schedule,
    predict: Predict,
    *,
    noise: Noise,
    steps: int,
    mode: Mode = "exact",
    clean: Clean | None = None,
    start: int | None = None,
    spacing: float = 1.0,
    unit_noise: UnitNoise | None = None,
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
        noise: Called for ``noise`` where there is a start, and for ``unit_noise`` where tau is filled up.
        steps: ``N``, from 1 to the number of levels (half of it in released mode).
        mode: "exact" or "released".
        clean: Level that the clean latent is treated as; None: "one" if exact, "alpha0" if released.
        start: Level of the forward latents that are inverted; None: the clean latents are.
        spacing: See :func:`~diffalign.latents.inversion_path.exact_path`.
        unit_noise: See :mod:`diffalign.latents.unit_noise`.
        corrections: See :func:`~diffalign.latents.inversion.invert`; also ``average``, ``eta`` and ``jitter``.

    Facts: in exact mode ``x_t = a_t x0 + s_t tau`` and the target is that of ``tau``, as for any noise. For a network
        that always predicts the same noise, ``tau`` is that noise. Up to the start, latents are those of forward
        noising.
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
    first = CLEAN if start is None else start
    counts = exact_steps(t, steps, schedule.levels, first)
    path = exact_path(t, counts, clean or "one", schedule.first_time, start=first, spacing=spacing)
    initial = None if start is None else noise("noise", True)
    tau = to_unit_noise(invert(x0, path, schedule, predict, initial=initial, **options), unit_noise, noise)
    wide = x0.detach().to(tau.dtype)
    x_t, target = schedule.add_noise(wide, tau, t), schedule.target(wide, tau, t)
    return Latent(x_t.to(x0.dtype), t, target.to(x0.dtype))


def steps_taken(t: Tensor, levels: int, settings: Mapping[str, Any]) -> Tensor:
    """Returns the number of steps of an inversion with these settings to each level, ``(B,)`` long."""
    if settings.get("mode") == "released":
        return released_steps(t, settings["steps"], levels)
    start = settings["start"]
    return exact_steps(t, settings["steps"], levels, CLEAN if start is None else start)
