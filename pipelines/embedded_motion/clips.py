"""Rendered clips and their latents on disk, and the parts of the video model that are not trained."""

from pathlib import Path

import numpy as np
import torch

from diffalign.devices.bf16_support import try_bf16
from pipelines.embedded import training_utils
from pipelines.embedded_motion import motions, render


def autocast() -> torch.autocast:
    """bf16 where the processor computes in it; elsewhere it would take many times as long as float32."""
    return torch.autocast("cpu", torch.bfloat16, enabled=try_bf16("cpu").pays)


def draw_shots(count: int, seed: int) -> list[motions.Shot]:
    """Returns the first `count` training shots of a seed."""
    rng = np.random.default_rng(seed)
    return [motions.draw(rng) for _ in range(count)]


def frames_to_tensor(clips: np.ndarray) -> torch.Tensor:
    """Converts ``(B, F, 64, 64, 3)`` uint8 to frames ``(B F, 3, 64, 64)`` in [-1, 1]."""
    return training_utils.to_tensor(clips.reshape(-1, *clips.shape[2:]))


@torch.no_grad()
def encode(vae, clips: np.ndarray) -> np.ndarray:
    """Returns posterior mean and standard deviation of each frame, scaled: ``(B, 8, F, 16, 16)`` float16."""
    with autocast():
        posterior = vae.encode(frames_to_tensor(clips)).latent_dist
    both = torch.cat([posterior.mean, posterior.std], 1).float() * vae.config.scaling_factor
    return both.unflatten(0, clips.shape[:2]).transpose(1, 2).half().numpy()


@torch.no_grad()
def decode(vae, latents: torch.Tensor) -> np.ndarray:
    """Returns the frames of scaled latents ``(B, 4, F, 16, 16)`` as ``(B, F, 64, 64, 3)`` uint8."""
    flat = latents.transpose(1, 2).flatten(0, 1).float() / vae.config.scaling_factor
    with autocast():
        frames = [vae.decode(part).sample.float() for part in flat.split(64)]
    images = training_utils.to_images(torch.cat(frames))
    return images.reshape(len(latents), latents.shape[2], *images.shape[1:])


def latents_of(work: Path, art, vae, count: int, seed: int) -> tuple[np.ndarray, list[motions.Shot]]:
    """Returns latents as `encode` and shots of `count` training clips, rendered and encoded once per work folder."""
    path, shots = work / f"clips-{seed}-{count}.npz", draw_shots(count, seed)
    if not path.exists():
        rng, parts = np.random.default_rng(seed + 1), []
        for i in range(0, count, 8):
            clips = [render.render(shot, art, render.take(rng)) for shot in shots[i : i + 8]]
            parts.append(encode(vae, np.stack(clips)))
        training_utils.save_arrays(path, latents=np.concatenate(parts))
    return np.load(path)["latents"], shots
