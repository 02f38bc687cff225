"""DDIM inversion: the latent from which the network itself would sample the candidate (InPO)."""

from __future__ import annotations

from torch import Tensor

from diffalign.latents.estimator import Estimator, Latent, Noise, Predict
from diffalign.latents.estimator_settings import BY_MODE, number, switch
from diffalign.latents.inversion_modes import LIMITS, NEUTRAL, Mode, check_settings, invert_to_level, steps_taken
from diffalign.latents.inversion_path import Clean
from diffalign.latents.schedule import Schedule
from diffalign.latents.unit_noise import UnitNoise


def ddim_inversion(
    x0: Tensor,
    t: Tensor,
    schedule: Schedule,
    *,
    noise: Noise,
    predict: Predict,
    steps: int = 10,
    eta: float | None = None,
    shared_noise: bool = False,
    clean: Clean | None = None,
    mode: Mode = "exact",
    start: int | None = None,
    spacing: float = 1.0,
    unit_noise: UnitNoise | None = None,
) -> Latent:
    """Follows the network's predictions, each made at the start of a step, up to level ``t``.

        tau <- (1 - w) tau + w eps(x_p, p),      x_t = a_t x0 + s_t tau,      target: that of tau

    Args:
        x0: ``(B, ...)`` clean latents.
        t: ``(B,)`` levels.
        schedule: The model's noise schedule.
        noise: Called for ``inversion:<step>`` where eta is above 0, with a start for ``noise``, and to fill up tau for
            ``unit_noise``.
        predict: The network.
        steps: Steps to the noisiest level; ``max(1, ceil(steps (t + 1) / T))`` to level ``t``.
        eta: Strength of the noise added after each step; None: 0, or 0.1 in released mode.
        shared_noise: Whether both candidates of a comparison get the same added noise.
        clean: Level that the clean latent is treated as; None: "one", or "alpha0" in released mode.
        mode: "exact", or "released" as in the published scripts (`diffalign.latents.released_inversion`).
        start: Level up to which the pair's forward noise leads, before the inversion begins; None: no such level.
        spacing: ``rho``: step ``k`` of ``n`` ends at the share ``(k / n)^rho`` of the levels.
        unit_noise: "rescale" or "fill": what is done about a tau of another rms than 1; None: nothing.

    Facts: with one step ``tau`` is the network's own prediction at ``x0``. First order: half the steps give about twice
        the error.

    Source: Lu et al. 2025, InPO (arXiv 2503.18454).
    """
    eta = eta if eta is not None else 0.1 if mode == "released" else 0.0
    jitter = lambda k: noise(f"inversion:{k}", shared_noise)
    return invert_to_level(
        *(x0, t, schedule, predict),
        noise=noise,
        steps=steps,
        mode=mode,
        clean=clean,
        start=start,
        spacing=spacing,
        unit_noise=unit_noise,
        eta=eta,
        jitter=jitter,
    )


DDIM_INVERSION = Estimator(
    name="ddim_inversion",
    function=ddim_inversion,
    needs_network=True,
    forward_counts=steps_taken,
    check=check_settings,
    neutral=NEUTRAL,
    limits={
        **LIMITS,
        "eta": number(
            0.0,
            "the strength of the noise added after each step",
            "Leave it out for the mode's own value: 0 if exact, 0.1 if released.",
            null=BY_MODE,
        ),
        "shared_noise": switch(
            "whether both candidates of a comparison get the same added noise",
            "Leave it at false, as published; it matters only where eta is above 0.",
        ),
    },
    summary="the latent from which the network itself samples the candidate, computed by DDIM in reverse",
    formula="tau <- (1 - w) tau + w eps(x_p, p) from clean to t,   x_t = a_t x0 + s_t tau,   target: that of tau",
    source="Lu et al. 2025, InPO (arXiv 2503.18454)",
    advice="With it, published runs train on a tenth of Diffusion-DPO's pairs. Each candidate costs 5.5 more forward "
    "passes on average.",
)
