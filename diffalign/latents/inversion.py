"""Inversion: follows the network's own predictions from a clean latent upwards to the level where it is scored.

DDIM moves a latent from level ``p`` to level ``q`` along a prediction ``eps`` of its noise,

    x_q = (a_q / a_p) x_p + (s_q - a_q s_p / a_p) eps.

Written as ``x_p = a_p x0 + s_p tau_p`` (``tau`` is the noise that turns ``x0`` into ``x_p``), the same move is an
average:

    tau_q = (1 - w) tau_p + w eps,      1 - w = (a_q s_p) / (a_p s_q)

It holds for every ``a`` and ``s``, those of flows included. From the clean latent (``s_p = 0``) ``w`` is 1, so at the
end ``tau`` is an average of the predictions along the path, with weights that sum to 1; nothing is divided by a small
``s`` at low levels, nor by the zero ``a`` of pure noise.

Sources: Song et al. 2020 (arXiv 2010.02502), eq. 13, in reverse; Garibi et al. 2024 (arXiv 2403.14602) for the
corrections.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from diffalign.latents.estimator import Predict
from diffalign.latents.inversion_path import InversionPath
from diffalign.latents.schedule import Schedule

Jitter = Callable[[int], Tensor]
"""``jitter(k)``: ``(B, ...)`` standard normal numbers for step ``k``."""


@torch.no_grad()
def invert(
    x0: Tensor,
    path: InversionPath,
    schedule: Schedule,
    predict: Predict,
    *,
    initial: Tensor | None = None,
    corrections: int = 0,
    average: bool = False,
    correct_at: Literal["target", "source"] = "target",
    eta: float = 0.0,
    jitter: Jitter | None = None,
) -> Tensor:
    """Moves all rows along their paths together. A row at the end of its path is not evaluated any more.

    Args:
        x0: ``(B, ...)`` clean latents.
        path: Levels of each row.
        schedule: The model's noise schedule.
        predict: The network.
        initial: ``(B, ...)`` noise of the latents where the paths start; None: they start at the clean latent.
        corrections: ``K``: how often each step is repeated from its start, with the prediction at its end.
        average: Take the last repetition of each step with the mean of its ``K + 1`` predictions.
        correct_at: Level of the network's time for a correction. "target" is the level of the guess; with many
            corrections the step then becomes the exact inverse of a DDIM sampling step. "source" is the level at the
            start of the step, and gains nothing.
        eta: Strength of noise added after each step, ``x_q += eta std z`` with ``std = s_p sqrt(1 - (1 - w)^2)``. That
            is DDIM's ``sqrt((1 - alpha_bar_p) / (1 - alpha_bar_q) (1 - alpha_bar_q / alpha_bar_p))`` where
            ``a^2 + s^2 = 1``, and 0 at a first step from the clean latent. The rest of the step is not reduced, so the
            variance grows a little.
        jitter: Source of ``z``; needed where eta is above 0.

    Returns:
        ``(B, ...)`` tau at the level where each path ends, in at least float32, without gradient. One evaluation per
        row, step and prediction: ``n (1 + K)``.

    Raises:
        ValueError: A sample prediction at a latent without noise, an epsilon prediction at pure noise.
    """
    _check_invertible(path, schedule)
    x0 = x0.detach().to(torch.promote_types(x0.dtype, torch.float32))
    tau = _initial_noise(x0, path.levels[:, 0], schedule) if initial is None else initial.to(x0, copy=True)
    for k in range(int(path.steps.max())):
        active = (path.steps > k).nonzero()[:, 0]
        p, q, time_level = path.levels[active, k], path.levels[active, k + 1], path.times[active, k]
        rows = active.to(x0.device)
        clean, before = x0[rows], tau[rows]
        keep = _keep_share(schedule, p, q)
        kept, taken = _expand(keep, x0), _expand(1.0 - keep, x0)
        eps = total = _predicted_noise(clean, before, p, p, time_level, rows, schedule, predict)
        for _ in range(corrections):
            guess = kept * before + taken * eps
            scale_level, guess_time = (q, q) if correct_at == "target" else (p, time_level)
            eps = _predicted_noise(clean, guess, q, scale_level, guess_time, rows, schedule, predict)
            total = total + eps
        if average:
            eps = total / (corrections + 1)
        after = kept * before + taken * eps
        if eta > 0.0 and bool((spread := eta * _spread(schedule, p, q)).any()):
            assert jitter is not None
            after = after + _expand(spread, x0) * jitter(k).to(x0)[rows]
        tau[rows] = after
    return tau


def _predicted_noise(
    clean: Tensor,
    tau: Tensor,
    level: Tensor,
    scale_level: Tensor,
    time_level: Tensor,
    rows: Tensor,
    schedule: Schedule,
    predict: Predict,
) -> Tensor:
    """Returns the noise that the network predicts for ``clean`` and ``tau`` mixed at ``level``.

    Its output is converted with the scales of ``scale_level``, and its time is that of ``time_level``: a clean latent
    has scales of no level, but the network takes it at some level's time.
    """
    x = schedule.add_noise(clean, tau, level)
    return schedule.to_epsilon(predict(x, time_level.to(x.device), rows).detach().to(x.dtype), x, scale_level)


def _initial_noise(x0: Tensor, level: Tensor, schedule: Schedule) -> Tensor:
    """Returns ``tau`` with ``a x0 + s tau = x0``: 0 at the clean level, a little of ``x0`` where that is treated as
    level 0.
    """
    a, s = schedule.scales(level)
    return _expand(torch.where(s > 0.0, (1.0 - a) / s, 0.0), x0) * x0


def _keep_share(schedule: Schedule, p: Tensor, q: Tensor) -> Tensor:
    """Returns ``1 - w``, float64; 0 where ``q`` has no noise: there ``tau`` has no effect."""
    (a_p, s_p), (a_q, s_q) = schedule.scales(p), schedule.scales(q)
    return torch.where(s_q > 0.0, (a_q * s_p) / (a_p * s_q), 0.0)


def _spread(schedule: Schedule, p: Tensor, q: Tensor) -> Tensor:
    """Returns ``std / s_q``, float64: the jitter of ``x_q`` in units of ``tau_q``."""
    s_p, s_q = schedule.scales(p)[1], schedule.scales(q)[1]
    return torch.where(s_q > 0.0, s_p * (1.0 - _keep_share(schedule, p, q) ** 2).clamp(min=0.0).sqrt() / s_q, 0.0)


def _expand(values: Tensor, like: Tensor) -> Tensor:
    """Returns values ``(B,)`` as ``(B, 1, ...)`` with the axes, device and dtype of ``like``."""
    return values.reshape(-1, *[1] * (like.ndim - 1)).to(like.device, like.dtype)


def _check_invertible(path: InversionPath, schedule: Schedule) -> None:
    start = path.levels[:, 0]
    if schedule.prediction == "sample" and bool((schedule.scales(start)[1] == 0.0).any()):
        raise ValueError(
            "an inversion starts at the clean latent, where a sample prediction contains no noise. Write "
            "clean: alpha0 to treat the clean latent as level 0, or use forward latents."
        )
    if schedule.prediction == "epsilon" and bool((schedule.scales(path.reached)[0] == 0.0).any()):
        raise ValueError(
            f"level {schedule.levels - 1} of this schedule is pure noise, where an epsilon prediction contains no "
            f"clean latent, so nothing can be inverted to it. Draw levels below {schedule.levels - 1}."
        )
