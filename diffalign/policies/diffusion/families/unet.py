"""What the families with a UNet share: their layers' names and the sizes that they take."""

from __future__ import annotations

from typing import Any

from diffalign.policies.adapters import LayerNames

ATTENTION = ("to_q", "to_k", "to_v", "to_out.0")
MLP = ("ff.net.0.proj", "ff.net.2")
ADAPTER_LAYERS: LayerNames = {"attention": (ATTENTION,), "attention+mlp": (ATTENTION, MLP)}


def video_layers(*motion: str) -> LayerNames:
    """Returns the presets of a UNet for clips, whose temporal layers lie below these segments of its paths."""
    attention, mlp = (tuple(f"{segment}...{name}" for segment in motion for name in part) for part in (ATTENTION, MLP))
    spatial = (tuple(f"attentions...{name}" for name in ATTENTION),)
    return {**ADAPTER_LAYERS, "motion": (attention,), "motion+mlp": (attention, mlp), "spatial": spatial}


def resolution_step(config: Any, pixels_per_latent: int) -> int:
    """Returns the pixels that each side must be a multiple of: every block but the last halves a latent's sides."""
    return int(pixels_per_latent * 2 ** (len(config.block_out_channels) - 1))
