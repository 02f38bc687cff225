"""How a denoiser judges a pair, for pictures and clips alike: a picture is a clip of one frame.

    x0 = ((mean + std n) - offset) factor                       a sample of the autoencoder's posterior, per candidate
    x_t = a_t x0 + s_t eps,   one t and one eps per pair        (or another way of `diffalign.latents`)
    e = mean over all non-batch axes of (out - target)^2        float32
    logp = -e / 2

Chosen and rejected candidates are stacked on the batch axis, ``2B`` rows, chosen first: one forward pass. ``t`` and
``eps`` are shared by the pair, so what their errors have in common cancels in the margin. Sources: Wallace et al. 2023
(arXiv 2311.12908), supplement S4 for the factor 1/2; the released code for the mean and for sharing the noise (the
paper's equation 14 writes two noises).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from diffalign.latents.draws import Draw
from diffalign.latents.error import mean_squared_error
from diffalign.latents.forward import timesteps
from diffalign.latents.schedule import Schedule
from diffalign.losses.scores import Scores
from diffalign.policies.policy import Scored

Ask = Callable[[Tensor, Tensor, Mapping[str, Tensor]], Tensor]
"""``ask(x_t, t, conditioning)``: a network's output."""


@dataclass(frozen=True)
class Encoded:
    """A batch of pairs as tensors on the device.

    Args:
        keys: One per pair: identity of everything that its tensors were made from.
        mean: ``(B, 2, V, C, ...)`` posterior means; axis 1 is chosen, rejected, axis 2 the views: plain, and mirrored
            where mirroring may be drawn.
        std: The posterior's standard deviations, same shape.
        conditioning: What the network gets besides latent and level, each ``(B, ...)``.
        empty: The same for the empty prompt, each ``(1, ...)``; names that are absent do not depend on the prompt.
    """

    keys: tuple[str, ...]
    mean: Tensor
    std: Tensor
    conditioning: Mapping[str, Tensor]
    empty: Mapping[str, Tensor]


@dataclass(frozen=True)
class Posed:
    """The question put to policy and reference alike, chosen candidates in rows ``[:B]``, rejected in ``[B:]``.

    Args:
        x_t: ``(2B, C, ...)`` noisy latents.
        t: ``(2B,)`` noise levels.
        target: ``(2B, C, ...)`` what the network should say.
        conditioning: Each ``(2B, ...)``.
    """

    x_t: Tensor
    t: Tensor
    target: Tensor
    conditioning: Mapping[str, Tensor]


@dataclass(frozen=True)
class Denoiser:
    """The rules of judging, fixed for a run.

    Args:
        schedule: Noise levels and what the network predicts.
        make_latent: A function of `diffalign.latents`: ``(x0, t, noise, schedule, predict) -> Latent``.
        offset: Subtracted from a posterior sample, broadcastable to ``(B, C, ...)``.
        factor: Multiplied to it afterwards: the autoencoder's scaling factor.
        caption_dropout: Probability that a pair is judged without its prompt.
        flip: ``"joint"``, ``"independent"`` or ``"none"``.
        low: Lowest noise level drawn.
        high: One past the highest; None: all.
        reduction: ``"mean"`` or ``"sum"`` over a candidate's latent.
    """

    schedule: Schedule
    make_latent: Callable[..., Any]
    offset: Tensor | float = 0.0
    factor: Tensor | float = 1.0
    caption_dropout: float = 0.2
    flip: str = "joint"
    low: int = 0
    high: int | None = None
    reduction: Literal["mean", "sum"] = "mean"

    def pose(self, encoded: Encoded, draw: Draw, predict: Ask) -> Posed:
        """Draws what is random about a batch. ``predict`` asks the reference, for latents found by inversion."""
        x0 = self.clean(encoded, draw)
        device, shape = x0.device, x0.shape[1:]
        conditioning = self.condition(encoded, draw)
        t = timesteps(draw, self.schedule, low=self.low, high=self.high).to(device).repeat(2)
        noise = draw.normal("noise", shape).to(device, x0.dtype)
        noise = torch.cat([noise, noise])
        latent = self.make_latent(x0, t, noise, self.schedule, lambda x, level: predict(x, level, conditioning))
        return Posed(latent.x_t, latent.t, latent.target, conditioning)

    def clean(self, encoded: Encoded, draw: Draw) -> Tensor:
        """``(2B, C, ...)`` scaled samples of the posteriors, mirrored where the draw says so."""
        samples = []
        for i, role in enumerate(("chosen", "rejected")):
            mean, std = self._view(encoded, draw, i, role)
            noise = draw.normal(f"posterior:{role}", mean.shape[1:]).to(mean.device)
            samples.append((mean + std * noise - self.offset) * self.factor)
        return torch.cat(samples)

    def condition(self, encoded: Encoded, draw: Draw) -> dict[str, Tensor]:
        """Conditioning of the ``2B`` rows, with the empty prompt's in both rows of the pairs that lose theirs."""
        drop = draw.happens("caption", self.caption_dropout)
        chosen = {}
        for name, value in encoded.conditioning.items():
            if name in encoded.empty and bool(drop.any()):
                rows = drop.to(value.device).view(-1, *[1] * (value.ndim - 1))
                value = torch.where(rows, encoded.empty[name].to(value), value)
            chosen[name] = torch.cat([value, value])
        return chosen

    def judge(self, output: Tensor, posed: Posed) -> Scored:
        """Scores of both candidates from the network's output ``(2B, C, ...)``."""
        errors = mean_squared_error(output, posed.target, reduction=self.reduction)
        chosen, rejected = errors.chunk(2)
        level = posed.t[: len(chosen)].float() / self.schedule.levels
        return scored(chosen, rejected, level=level)

    def _view(self, encoded: Encoded, draw: Draw, candidate: int, role: str) -> tuple[Tensor, Tensor]:
        mean, std = encoded.mean[:, candidate], encoded.std[:, candidate]
        if self.flip == "none" or mean.shape[1] == 1:
            return mean[:, 0], std[:, 0]
        view = draw.happens("flip" if self.flip == "joint" else f"flip:{role}", 0.5).long().to(mean.device)
        rows = torch.arange(len(view), device=mean.device)
        return mean[rows, view], std[rows, view]


def scored(chosen: Tensor, rejected: Tensor, **info: Tensor) -> Scored:
    """Surrogate errors ``(B,)`` of both candidates as scores: ``logp = -e / 2``."""
    details = {"chosen_error": chosen.detach(), "rejected_error": rejected.detach(), **info}
    return Scored((Scores(-0.5 * chosen), Scores(-0.5 * rejected)), details)


def call(network: nn.Module, x_t: Tensor, t: Tensor, conditioning: Mapping[str, Tensor], dtype: torch.dtype) -> Tensor:
    """One forward pass of a diffusers denoiser. Everything but ``encoder_hidden_states`` travels as added conditions.

    ``dtype`` is the dtype of the network's weights: latents and states are cast to it, the output is left as it comes.
    """
    added = {name: value.to(dtype) for name, value in conditioning.items() if name != "encoder_hidden_states"}
    extra = {"added_cond_kwargs": added} if added else {}
    states = conditioning["encoder_hidden_states"].to(dtype)
    return network(x_t.to(dtype), t, encoder_hidden_states=states, return_dict=False, **extra)[0]
