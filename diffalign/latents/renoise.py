"""Corrected inversions: each step is repeated with the prediction at its end (ReNoise, SmPO; Heun)."""

from __future__ import annotations

from torch import Tensor

from diffalign.latents.estimator import Estimator, Latent, Noise, Predict
from diffalign.latents.estimator_settings import BY_MODE, switch, whole
from diffalign.latents.inversion_modes import LIMITS, NEUTRAL, Mode, check_settings, invert_to_level, steps_taken
from diffalign.latents.inversion_path import Clean
from diffalign.latents.schedule import Schedule
from diffalign.latents.unit_noise import UnitNoise


def renoise(
    x0: Tensor,
    t: Tensor,
    schedule: Schedule,
    *,
    noise: Noise,
    predict: Predict,
    steps: int = 10,
    corrections: int = 1,
    average: bool | None = None,
    clean: Clean | None = None,
    mode: Mode = "exact",
    start: int | None = None,
    spacing: float = 1.0,
    unit_noise: UnitNoise | None = None,
) -> Latent:
    """Inverts by DDIM with corrected steps: ``eps_j`` is predicted at the end of the step that takes ``eps_{j-1}``.

        tau_j = (1 - w) tau + w eps_{j-1},      eps_j = eps(a_q x0 + s_q tau_j, q),      j = 1 .. corrections

    Args:
        x0: ``(B, ...)`` clean latents.
        t: ``(B,)`` levels.
        schedule: The model's noise schedule.
        noise: Called where there is a start, and where tau is filled up.
        predict: The network.
        steps: Steps to the noisiest level; ``max(1, ceil(steps (t + 1) / T))`` to level ``t``.
        corrections: How often a step is repeated; 0 is DDIM inversion.
        average: Whether the last repetition takes the mean of all predictions; None: no, or yes in released mode.
        clean: Level that the clean latent is treated as; None: "one", or "alpha0" in released mode.
        mode: "exact", or "released" as in the published scripts (`diffalign.latents.released_inversion`).
        start: Level up to which the pair's forward noise leads, before the inversion begins; None: no such level.
        spacing: ``rho``: step ``k`` of ``n`` ends at the share ``(k / n)^rho`` of the levels.
        unit_noise: "rescale" or "fill": what is done about a tau of another rms than 1; None: nothing.

    Facts: with many corrections it becomes the exact inverse of DDIM sampling on the same levels.

    Sources: Garibi et al. 2024 (arXiv 2403.14602); Lu et al. 2025, SmPO (arXiv 2506.02698).
    """
    average = average if average is not None else mode == "released"
    return invert_to_level(
        *(x0, t, schedule, predict),
        noise=noise,
        steps=steps,
        mode=mode,
        clean=clean,
        start=start,
        spacing=spacing,
        unit_noise=unit_noise,
        corrections=corrections,
        average=average,
    )


def heun(
    x0: Tensor,
    t: Tensor,
    schedule: Schedule,
    *,
    noise: Noise,
    predict: Predict,
    steps: int = 10,
    clean: Clean | None = None,
    start: int | None = None,
    spacing: float = 1.0,
    unit_noise: UnitNoise | None = None,
) -> Latent:
    """Inverts by DDIM with Heun's rule: each step takes the mean of the predictions at its start and at its first end.

    Args:
        x0: ``(B, ...)`` clean latents.
        t: ``(B,)`` levels.
        schedule: The model's noise schedule.
        noise: Called where there is a start, and where tau is filled up.
        predict: The network.
        steps: Steps to the noisiest level; ``max(1, ceil(steps (t + 1) / T))`` to level ``t``.
        clean: Level that the clean latent is treated as; None: "one".
        start: Level up to which the pair's forward noise leads, before the inversion begins; None: no such level.
        spacing: ``rho``: step ``k`` of ``n`` ends at the share ``(k / n)^rho`` of the levels.
        unit_noise: "rescale" or "fill": what is done about a tau of another rms than 1; None: nothing.

    Facts: :func:`renoise` with one correction and the average. Closest to the continuous path, but not the inverse
        of sampling on the same levels.

    Source: Karras et al. 2022 (arXiv 2206.00364), algorithm 1, in reverse.
    """
    return renoise(
        *(x0, t, schedule),
        noise=noise,
        predict=predict,
        steps=steps,
        corrections=1,
        average=True,
        clean=clean,
        start=start,
        spacing=spacing,
        unit_noise=unit_noise,
    )


RENOISE = Estimator(
    name="renoise",
    function=renoise,
    needs_network=True,
    forward_counts=lambda t, levels, settings: steps_taken(t, levels, settings) * (1 + settings["corrections"]),
    check=check_settings,
    neutral=NEUTRAL,
    limits={
        **LIMITS,
        "corrections": whole(0, "how often each step is repeated with the prediction at its end", "SmPO takes 1."),
        "average": switch(
            "whether the last repetition of a step takes the mean of all its predictions",
            "Leave it out for the mode's own value: false if exact, true if released.",
            null=BY_MODE,
        ),
    },
    summary="DDIM inversion whose steps are repeated with the prediction at their end, so that sampling leads back",
    formula="x_q from eps(x_q, q), by fixed-point iterations that start at eps(x_p, p)",
    source="Garibi et al. 2024 (arXiv 2403.14602); Lu et al. 2025, SmPO (arXiv 2506.02698)",
    advice="Use it where the way back matters: sampling from x_t comes closer to the candidate. Costs "
    "(1 + corrections) times a DDIM inversion.",
)

HEUN = Estimator(
    name="heun",
    function=heun,
    needs_network=True,
    forward_counts=lambda t, levels, settings: steps_taken(t, levels, settings) * 2,
    check=check_settings,
    neutral=NEUTRAL,
    limits={name: setting for name, setting in LIMITS.items() if name != "mode"},
    summary="DDIM inversion by Heun's rule: nearest to the continuous path for its number of steps",
    formula="x_q from the mean of eps(x_p, p) and eps(x_q', q),   x_q' from eps(x_p, p)",
    source="Karras et al. 2022 (arXiv 2206.00364), algorithm 1, in reverse",
    advice="Use it where the latent itself should be accurate; for the way back, use renoise with more corrections.",
)
