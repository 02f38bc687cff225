"""Masks: the weight of each position of an image in the reward, and in the divergence from the reference.

    files          images drawn by hand or by a detector: white is weight 1, black is weight 0
    activations    of the reference: its middle block's mean over channels, enlarged, rescaled to [0, 1] in each image

Positions are those of the image as it is stored: maps of mirrored rows are mirrored back.
Source: the spatial form of Christopoulou et al. 2024 (arXiv 2410.05102).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from diffalign.data.media.decode import open_image
from diffalign.data.media.preprocess import prepare_image
from diffalign.data.records.pair import Answer, Pair
from diffalign.data.storage.inside_folder import inside
from diffalign.data.storage.kept_latents import KeptLatent
from diffalign.errors import DataError
from diffalign.files.text_files import is_file
from diffalign.policies.diffusion.config import RegionConfig


def check_masks(config: RegionConfig, pairs: Sequence[Pair]) -> None:
    """Raises DataError for the first candidate whose mask is missing, before training."""
    if config.folder is None:
        return
    for pair in pairs:
        for role, answer in pair.answers.items():
            find_mask(config.folder, pair, role, answer)


def find_mask(folder: Path, pair: Pair, role: str, answer: Answer) -> Path:
    """Returns the file of a candidate's mask. Raises DataError that names the files that it looked for."""
    image = answer.candidate.image if isinstance(answer.candidate, KeptLatent) else answer.candidate
    stem = [image.stem] if isinstance(image, Path) else []
    names = [f"{name}.png" for name in (f"{pair.id}-{role}", *stem, pair.id)]
    for name in names:
        path = inside(folder, name)
        if path is not None and is_file(path):
            return path
    raise DataError(
        f"pair '{pair.id}' ({pair.source or 'no source'}) has no mask for its {role} candidate: {folder} holds none of "
        f"{', '.join(names)}. A white image gives every position the weight 1."
    )


def read_masks(folder: Path, pairs: Sequence[Pair], resolution: int, size: tuple[int, int]) -> Tensor:
    """Returns ``(B, n, h, w)``: the masks of each pair's candidates in the order of their roles, in [0, 1], each value
    the mean over the pixels of one position of the latent.
    """
    rows = []
    for pair in pairs:
        paths = [find_mask(folder, pair, role, answer) for role, answer in pair.answers.items()]
        pixels = torch.stack([prepare_image(open_image(path), resolution).mean(0) for path in paths])
        rows.append(F.adaptive_avg_pool2d((pixels + 1.0) / 2.0, size))
    return torch.stack(rows).clamp(0.0, 1.0)


@contextmanager
def middle_block_outputs(network: nn.Module, config: RegionConfig | None) -> Iterator[list[Tensor]]:
    """Collects the outputs of a denoiser's middle block within the block, where masks are made of them."""
    outputs: list[Tensor] = []
    if config is None or config.kind != "activations":
        yield outputs
        return
    middle: Any = network.mid_block
    hook = middle.register_forward_hook(lambda _, __, output: outputs.append(output.detach().float()))
    try:
        yield outputs
    finally:
        hook.remove()


def position_masks(
    regions: Tensor | None, activations: Sequence[Tensor], size: Sequence[int], mirrored: Sequence[Tensor | None]
) -> Tensor | None:
    """Returns ``(2, n, B, h w)``: the weight of each position in reward and divergence; None where there is no source.

    Args:
        regions: ``(B, n, h, w)`` from files.
        activations: ``(nB, C, h', w')``, outputs of the middle block.
        size: ``(h, w)``.
        mirrored: The rows of each candidate that were scored mirrored.
    """
    if regions is not None:
        maps = regions.transpose(0, 1)
    elif activations:
        mean = activations[-1].mean(1, keepdim=True)
        large = F.interpolate(mean, size=tuple(size), mode="bilinear", align_corners=False)
        parts = rescale(large[:, 0]).chunk(len(mirrored))
        maps = torch.stack([mirror_rows(part, rows) for part, rows in zip(parts, mirrored, strict=True)])
    else:
        return None
    return maps.flatten(2).expand(2, -1, -1, -1)


def mirror_rows(maps: Tensor, rows: Tensor | None) -> Tensor:
    """Returns the maps ``(B, ..., w)``, those of some rows, ``(B,)`` of booleans, mirrored from left to right."""
    if rows is None:
        return maps
    return torch.where(rows.view(-1, *[1] * (maps.ndim - 1)), maps.flip(-1), maps)


def rescale(maps: Tensor) -> Tensor:
    """Rescales each map ``(B, h, w)`` to [0, 1]; a constant map becomes 1, since it does not tell positions apart."""
    low, high = maps.flatten(1).aminmax(dim=1)
    low, span = low.view(-1, 1, 1), (high - low).view(-1, 1, 1)
    return torch.where(span > 0.0, (maps - low) / span.clamp(min=torch.finfo(maps.dtype).tiny), 1.0)
