"""What the families with a ``UNet2DConditionModel`` share: their layers' names and the sizes that they take."""

from __future__ import annotations

from typing import Any

from diffalign.policies.adapters import LayerNames

ATTENTION = ("to_q", "to_k", "to_v", "to_out.0")
MLP = ("ff.net.0.proj", "ff.net.2")
ADAPTER_LAYERS: LayerNames = {"attention": (ATTENTION,), "attention+mlp": (ATTENTION, MLP)}


def resolution_step(config: Any, pixels_per_latent: int) -> int:
    """Returns the pixels that each side must be a multiple of: every block but the last halves a latent's sides."""
    return int(pixels_per_latent * 2 ** (len(config.block_out_channels) - 1))
