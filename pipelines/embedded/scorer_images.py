"""Training images of the scorers: scenes in groups of near misses, clean and through the autoencoder, augmented.

A group is a scene and three others that differ from it in one attribute each, so that each batch of a contrastive
training has hard negatives. `matches` computes which prompts are true of which scenes.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from pipelines.embedded import scenes, training_utils

GROUP = 4


def near_miss(scene: scenes.Scene, rng: np.random.Generator) -> scenes.Scene:
    """Returns a training scene that differs in exactly one attribute."""
    while True:
        name = str(rng.choice(["subject", "subject", "count", "background", "style", "place"]))
        every: dict[str, list[Any]] = {
            "subject": list(scenes.BY_WORD), "count": [1, 2, 3], "background": list(scenes.BACKGROUNDS),
            "style": list(scenes.STYLES), "place": list(scenes.PLACES_OF_COUNT[scene.count]),
        }  # fmt: skip
        options = [option for option in every[name] if option != getattr(scene, name)]
        if not options:
            continue
        other = replace(scene, **{name: options[rng.integers(len(options))]})
        if name == "count":
            places = scenes.PLACES_OF_COUNT[other.count]
            place = other.place if other.place in places else (str(rng.choice(places)) if places else None)
            other = replace(other, place=place)
        if not scenes.held_out(*other.combination):
            return other


def make(work: Path, art, name: str, count: int, seed: int) -> tuple[np.ndarray, np.ndarray, list[scenes.Scene]]:
    """Returns `count` clean images, the same images through the autoencoder with noisy latents, and their scenes."""
    from diffusers import AutoencoderKL

    path = work / f"pool-{name}.npz"
    rng = np.random.default_rng(seed)
    drawn: list[scenes.Scene] = []
    while len(drawn) < count:
        base = scenes.draw(rng)
        drawn += [base, *(near_miss(base, rng) for _ in range(GROUP - 1))]
    if not path.exists():
        clean = np.stack([scenes.render(scene, art, rng) for scene in drawn])
        vae = AutoencoderKL.from_pretrained(work / "vae")
        torch.manual_seed(seed)
        decoded = []
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
            for i in range(0, count, 64):
                z = vae.encode(training_utils.to_tensor(clean[i : i + 64])).latent_dist.mean
                strength = 0.35 * torch.rand(len(z), 1, 1, 1) ** 2 / vae.config.scaling_factor
                decoded.append(training_utils.to_images(vae.decode(z + strength * torch.randn_like(z)).sample))
        training_utils.save_arrays(path, clean=clean, decoded=np.concatenate(decoded))
    with np.load(path) as stored:
        return stored["clean"], stored["decoded"], drawn


def augment(x: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    """Applies shift, blur, noise, coarse colour and blocky compression, each to a random part of ``(B, 3, 64, 64)``."""
    n = len(x)

    def some(share: float) -> torch.Tensor:
        return torch.from_numpy(rng.random(n) < share).view(-1, 1, 1, 1)

    dy, dx = rng.integers(-2, 3, 2)
    x = F.pad(x, (2, 2, 2, 2), mode="replicate")[..., 2 + dy : 66 + dy, 2 + dx : 66 + dx]
    blurred = F.avg_pool2d(F.pad(x, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
    x = torch.where(some(0.3), blurred, x)
    halved = F.interpolate(F.avg_pool2d(x, 2), scale_factor=2, mode="bilinear")
    x = torch.where(some(0.12), halved, x)
    blocks = F.interpolate(F.avg_pool2d(x, 8), scale_factor=8)  # as JPEG does: keep a block's mean, round the rest
    x = torch.where(some(0.2), blocks + ((x - blocks) * 6).round() / 6, x)
    noise = torch.from_numpy(rng.standard_normal(x.shape, dtype=np.float32))
    strength = torch.from_numpy(rng.random((n, 1, 1, 1), dtype=np.float32)) * 0.12
    gain = torch.from_numpy(rng.uniform(0.9, 1.1, (n, 3, 1, 1)).astype(np.float32))
    return torch.where(some(0.5), x * gain + strength * noise, x).clamp(-1, 1)


def matches(prompts: list[scenes.Scene], shown: list[scenes.Scene]) -> torch.Tensor:
    """Returns ``(prompts, shown)`` bool, True where every attribute in the prompt is true of the scene."""

    def codes(part: list[scenes.Scene]) -> np.ndarray:
        columns: tuple[list[Any], ...] = (
            list(scenes.BY_WORD),
            [1, 2, 3],
            list(scenes.STYLES),
            list(scenes.BACKGROUNDS),
            list(scenes.PLACES),
        )
        values = [(s.subject, s.count, s.style, s.background, s.place) for s in part]
        return np.array(
            [[-1 if v is None else c.index(v) for v, c in zip(row, columns, strict=True)] for row in values]
        )

    prompted, actual = codes(prompts)[:, None], codes(shown)[None]
    return torch.from_numpy(((prompted == -1) | (prompted == actual)).all(-1))
