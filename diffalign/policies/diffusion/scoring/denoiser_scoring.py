"""How a denoiser scores candidates, for images and videos alike: an image is a video of one frame.

    x0 = ((mean + std n) - offset) factor                       a sample of the autoencoder's posterior, per candidate
    x_t = a_t x0 + s_t eps,   one t and one eps per pair        (or another way of `diffalign.latents`)
    e = mean over all non-batch axes of (out - target)^2        float32; of a clip mean_f w_f e_f, where frames have
                                                                weights
    logp = -e / 2

The ``n`` candidates of each example (two of a pair, one of a single winner) are stacked on the batch axis, ``nB`` rows,
the chosen ones first: one forward pass. A pair shares ``t`` and ``eps``, so the part that its errors have in common
cancels in the margin. Sources: Wallace et al. 2023 (arXiv 2311.12908), supplement S4 for the factor 1/2; the released
code for the mean and for sharing the noise (the paper's equation 14 writes two noises).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from diffalign.latents.estimator import BoundEstimator
from diffalign.latents.forward import timesteps
from diffalign.latents.schedule import Schedule
from diffalign.latents.surrogate_error import mean_squared_error
from diffalign.latents.unit_noise import rms
from diffalign.losses.candidate_logps import CandidateLogps
from diffalign.policies.diffusion.families.family import LatentScale
from diffalign.policies.diffusion.scoring.position_masks import mirror_rows
from diffalign.policies.policy import BatchLogps
from diffalign.randomness import Draw

NetworkCall = Callable[[Tensor, Tensor, Mapping[str, Tensor]], Tensor]
"""``call(x_t, time, conditioning)``: a network's output, without a gradient."""

ROLES = ("chosen", "rejected")
"""Names of the candidates, in the order of their rows."""


def role_names(count: int) -> tuple[str, ...]:
    """Returns the names of ``count`` candidates; draws are keyed by them."""
    return (*ROLES, *(f"further {k}" for k in range(len(ROLES), count)))[:count]


@dataclass(frozen=True)
class EncodedCandidates:
    """A batch of examples as tensors on the device.

    Args:
        keys: One per example: identity of everything that its tensors were made from.
        mean: ``(B, n, V, C, ...)`` posterior means; axis 1 is chosen, rejected, axis 2 the views: plain, and mirrored
            where mirroring may be drawn.
        std: The posterior's standard deviations, same shape.
        conditioning: The network's inputs besides latent and time, each ``(B, ...)``.
        empty: The same for the empty prompt, each ``(1, ...)``; absent names do not depend on the prompt.
        by_candidate: The conditioning of each candidate where their prompts differ; empty: they share it.
        regions: ``(B, n, h, w)`` or None: the weight of each position of a candidate, in [0, 1].
        frame_weights: ``(B, F)`` float32 of mean 1, the weights of a clip's frames; None: all count alike.
    """

    keys: tuple[str, ...]
    mean: Tensor
    std: Tensor
    conditioning: Mapping[str, Tensor]
    empty: Mapping[str, Tensor]
    by_candidate: tuple[Mapping[str, Tensor], ...] = ()
    regions: Tensor | None = None
    frame_weights: Tensor | None = None


@dataclass(frozen=True)
class DenoiserInputs:
    """One input for policy and reference, chosen candidates in rows ``[:B]``, rejected in ``[B:]``.

    Args:
        x_t: ``(nB, C, ...)`` noisy latents.
        t: ``(nB,)`` noise levels.
        time: ``(nB,)`` the same levels as the network takes them.
        target: ``(nB, C, ...)``, compared with the network's output.
        conditioning: Each ``(nB, ...)``.
        candidates: ``n``.
        frame_weights: ``(nB, 1, F, 1, 1)``, a factor on the squared error of each frame; None: 1.
    """

    x_t: Tensor
    t: Tensor
    time: Tensor
    target: Tensor
    conditioning: Mapping[str, Tensor]
    candidates: int
    frame_weights: Tensor | None = None

    @property
    def latents(self) -> tuple[Tensor, Tensor]:
        """``(x_t, target)``."""
        return self.x_t, self.target


@dataclass(frozen=True)
class Denoiser:
    """The rules of scoring, fixed for a run.

    Args:
        schedule: Noise levels and the meaning of the network's output.
        estimate: An estimator of `diffalign.latents`: the latents at which candidates are scored.
        scale: From the autoencoder's latents to the network's.
        caption_dropout: Probability that a pair is scored without its prompt.
        flip: ``"joint"``, ``"independent"`` or ``"none"``.
        low: Lowest noise level drawn.
        high: One past the highest; None: all.
        listed: Levels that are drawn instead of all from ``low`` to ``high``.
        reduction: ``"mean"`` or ``"sum"`` over a candidate's latent.
    """

    schedule: Schedule
    estimate: BoundEstimator
    scale: LatentScale = LatentScale()
    caption_dropout: float = 0.2
    flip: str = "joint"
    low: int = 0
    high: int | None = None
    listed: tuple[int, ...] = ()
    reduction: Literal["mean", "sum"] = "mean"

    def build_inputs(
        self,
        encoded: EncodedCandidates,
        draw: Draw,
        call: NetworkCall,
        stored: tuple[Tensor, Tensor] | None = None,
        levels: Tensor | None = None,
    ) -> DenoiserInputs:
        """Draws everything that is random about a batch, and computes the latents at which it is scored.

        Args:
            encoded: The batch.
            draw: Its randomness.
            call: The network that an inversion follows.
            stored: ``(x_t, target)``, each ``(nB, C, ...)``, where they were computed before.
            levels: ``(B,)`` long, instead of levels that are drawn.
        """
        count = encoded.mean.shape[1]
        device = encoded.mean.device
        conditioning = self.condition(encoded, draw)
        weights = None
        if encoded.frame_weights is not None:
            weights = encoded.frame_weights.repeat(count, 1)[:, None, :, None, None]
        if levels is None:
            levels = timesteps(draw, self.schedule, self.low, self.high, self.listed)
        t = levels.to(device).repeat(count)
        if stored is not None:
            time = self.schedule.model_time(t)
            return DenoiserInputs(stored[0], t, time, stored[1], conditioning, count, weights)
        x0 = self.clean(encoded, draw)

        def noise(purpose: str, shared: bool) -> Tensor:
            names = [purpose] if shared else [f"{purpose}:{role}" for role in role_names(count)]
            rows = torch.cat([draw.normal(name, x0.shape[1:]) for name in names]).to(x0.device, x0.dtype)
            return rows.repeat(count, *[1] * (rows.ndim - 1)) if shared else rows

        def predict(x: Tensor, level: Tensor, rows: Tensor) -> Tensor:
            return call(x, self.schedule.model_time(level), {name: value[rows] for name, value in conditioning.items()})

        latent = self.estimate(x0, t, self.schedule, noise=noise, predict=predict)
        time = self.schedule.model_time(latent.t)
        return DenoiserInputs(latent.x_t, latent.t, time, latent.target, conditioning, count, weights)

    def clean(self, encoded: EncodedCandidates, draw: Draw) -> Tensor:
        """Returns scaled samples ``(nB, C, ...)`` of the posteriors, mirrored where the draw decides so."""
        samples = []
        for i, role in enumerate(role_names(encoded.mean.shape[1])):
            mean, std = self._view(encoded, draw, i, role)
            noise = draw.normal(f"posterior:{role}", mean.shape[1:]).to(mean.device)
            samples.append(self.scale.normalise(mean + std * noise))
        return torch.cat(samples)

    def condition(self, encoded: EncodedCandidates, draw: Draw) -> dict[str, Tensor]:
        """Returns the conditioning of the ``nB`` rows; an example that loses its prompt has the empty one."""
        drop = draw.happens("caption", self.caption_dropout)
        any_dropped = bool(drop.any())

        def with_dropout(name: str, value: Tensor) -> Tensor:
            if name not in encoded.empty or not any_dropped:
                return value
            rows = drop.to(value.device).view(-1, *[1] * (value.ndim - 1))
            return torch.where(rows, encoded.empty[name].to(value), value)

        count = encoded.mean.shape[1]
        if encoded.by_candidate:
            return {
                name: torch.cat([with_dropout(name, candidate[name]) for candidate in encoded.by_candidate])
                for name in encoded.conditioning
            }
        return {name: torch.cat([with_dropout(name, value)] * count) for name, value in encoded.conditioning.items()}

    def logps(self, output: Tensor, inputs: DenoiserInputs) -> BatchLogps:
        """Returns the candidates' log-probabilities from the network's output ``(nB, C, ...)``."""
        rows = mean_squared_error(output, inputs.target, reduction=self.reduction, weights=inputs.frame_weights)
        errors = rows.chunk(inputs.candidates)
        info = {"level": inputs.t[: len(errors[0])].float() / self.schedule.levels}
        if self.estimate.needs_network:
            info["noise/rms"] = self.noise_rms(inputs)
        return logps_of_errors(*errors, **info)

    def noise_rms(self, inputs: DenoiserInputs) -> Tensor:
        """Returns ``rms(tau)`` with ``x_t = a_t x0 + s_t tau``, the mean over each example's candidates, ``(B,)``.

        It is 1 for noise. Less means that the latents hold less noise than the network expects at their level.
        """
        return rms(self.tau(inputs)).view(inputs.candidates, -1).mean(0)

    def tau(self, inputs: DenoiserInputs) -> Tensor:
        """Returns the noise ``tau`` of ``x_t = a_t x0 + s_t tau``, ``(nB, C, ...)`` float32, without gradient."""
        return self.schedule.to_epsilon(inputs.target.detach(), inputs.x_t.detach(), inputs.t).float()

    def spread_levels(self, count: int) -> list[int]:
        """Returns ``count`` levels at the middles of as many equal parts of those that are drawn from, rising."""
        drawn = sorted(set(self.listed)) or range(
            self.low, self.schedule.informative if self.high is None else self.high
        )
        return [drawn[(2 * k + 1) * len(drawn) // (2 * count)] for k in range(count)]

    def part_errors(
        self, output: Tensor, target: Tensor, mirrored: Sequence[Tensor | None], weights: Tensor | None = None
    ) -> tuple[Tensor, ...]:
        """Returns half the squared difference of two outputs ``(nB, C, ...)`` at each position, ``(B, N)`` for each
        candidate.

        A mean over channels, in a scale in which the positions' sum is half the error of :func:`mean_squared_error`.

        Args:
            output: The network's output.
            target: The tensor that it is compared with.
            mirrored: The rows of each candidate that are scored mirrored, see :meth:`mirrored`. They are mirrored back,
                so that a position is always the same one of the image as it is stored.
            weights: A factor on each element's square, broadcastable to the output.
        """
        dtype = torch.promote_types(torch.promote_types(output.dtype, target.dtype), torch.float32)
        squares = (output.to(dtype) - target.to(dtype)).square()
        if weights is not None:
            squares = squares * weights
        maps = squares.sum(1) if self.reduction == "sum" else squares.mean(1) / math.prod(squares.shape[2:])
        halves = (0.5 * maps).chunk(len(mirrored))
        return tuple(mirror_rows(half, rows).flatten(1) for half, rows in zip(halves, mirrored, strict=True))

    def mirrored(self, encoded: EncodedCandidates, draw: Draw) -> list[Tensor | None]:
        """Returns for each candidate which examples are scored mirrored, ``(B,)`` of booleans; None: none can be."""
        roles = role_names(encoded.mean.shape[1])
        return [self._mirrored(encoded.mean[:, i], draw, role) for i, role in enumerate(roles)]

    def _mirrored(self, mean: Tensor, draw: Draw, role: str) -> Tensor | None:
        if self.flip == "none" or mean.shape[1] == 1:
            return None
        return draw.happens("flip" if self.flip == "joint" else f"flip:{role}", 0.5).to(mean.device)

    def _view(self, encoded: EncodedCandidates, draw: Draw, candidate: int, role: str) -> tuple[Tensor, Tensor]:
        mean, std = encoded.mean[:, candidate], encoded.std[:, candidate]
        mirrored = self._mirrored(mean, draw, role)
        if mirrored is None:
            return mean[:, 0], std[:, 0]
        view = mirrored.long()
        rows = torch.arange(len(view), device=mean.device)
        return mean[rows, view], std[rows, view]


def logps_of_errors(*errors: Tensor, **info: Tensor) -> BatchLogps:
    """Returns log-probabilities ``logp = -e / 2`` of each candidate's surrogate errors ``(B,)``."""
    details = {f"{role}_error": error.detach() for role, error in zip(ROLES, errors, strict=False)}
    return BatchLogps(tuple(CandidateLogps(-0.5 * error) for error in errors), {**details, **info})
