"""Inputs of the right shapes and without a meaning, to follow a pass whose memory is to be known before training."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from diffalign.latents.schedule import Schedule
from diffalign.policies.diffusion.encoding.frozen_components import FrozenComponents
from diffalign.policies.diffusion.scoring.denoiser_scoring import DenoiserInputs


def trial_inputs(
    frozen: FrozenComponents,
    schedule: Schedule,
    resolution: int,
    shape: Sequence[int],
    count: int,
    candidates: int,
) -> DenoiserInputs:
    """Returns inputs of zeros for ``count`` examples. No image is read and no prompt is encoded.

    Args:
        frozen: The components around the network, which know the shapes.
        schedule: The noise levels.
        resolution: Side of the images or clips, px.
        shape: Of a latent.
        count: Examples.
        candidates: Candidates of each.
    """
    rows, device = count * candidates, frozen.device
    conditioning = {
        name: torch.zeros(rows, *value.shape[1:], dtype=value.dtype, device=device)
        for name, value in frozen.empty_prompt().items()
    }
    size = torch.zeros(rows, 4, dtype=torch.long, device=device)
    conditioning |= frozen.family.size_conditioning(size, (resolution, resolution), True)
    latents = torch.zeros(rows, *shape, device=device)
    t = torch.zeros(rows, dtype=torch.long, device=device)
    return DenoiserInputs(latents, t, schedule.model_time(t), latents, conditioning, candidates)
