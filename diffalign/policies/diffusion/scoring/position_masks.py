"""Masks: how much each position of an image counts in the reward, and in the divergence from the reference.

    files          images drawn by hand or by a detector: white counts, black does not
    activations    of the reference: its middle block's mean over channels, enlarged, rescaled to [0, 1] in each image

Positions are those of the image as it is stored: where it is judged mirrored they are turned back.
Source: the spatial form of Christopoulou et al. 2024 (arXiv 2410.05102).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import torch
import torch.nn.functional as F
from pydantic import BaseModel, ConfigDict, model_validator
from torch import Tensor, nn

from diffalign.data.media.decode import open_image
from diffalign.data.media.preprocess import prepare_image
from diffalign.data.records.pair import Answer, Pair
from diffalign.data.storage.table_cell import inside
from diffalign.errors import DataError


class RegionConfig(BaseModel):
    """Where masks of positions come from.

    Args:
        kind: ``"files"`` or ``"activations"``, see above.
        folder: Of files: where they are. The mask of a candidate is ``ID-ROLE.png`` (a pair's id; chosen, rejected),
            else ``NAME.png`` of the candidate ``NAME.jpg``, else ``ID.png``, of whatever size: it is framed as the
            candidate is.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["files", "activations"]
    folder: Path | None = None

    @model_validator(mode="after")
    def _fits(self) -> RegionConfig:
        if (self.kind == "files") != (self.folder is not None):
            files = "need the folder that they are in. Type: --set model.masks.folder=masks"
            activations = "read the reference, no folder. Leave folder out, or take kind: files"
            raise ValueError(f"masks of kind '{self.kind}' {files if self.kind == 'files' else activations}")
        return self

    def check(self, pairs: Sequence[Pair]) -> None:
        """Raises DataError for the first candidate whose mask is missing, so that it is told before training."""
        if self.folder is None:
            return
        for pair in pairs:
            for role, answer in pair.answers.items():
                find_region(self.folder, pair, role, answer)


def find_region(folder: Path, pair: Pair, role: str, answer: Answer) -> Path:
    """The file of a candidate's mask. Raises DataError that says what was looked for."""
    stem = [answer.candidate.stem] if isinstance(answer.candidate, Path) else []
    names = [f"{name}.png" for name in (f"{pair.id}-{role}", *stem, pair.id)]
    for name in names:
        path = inside(folder, name)
        if path is not None and path.is_file():
            return path
    raise DataError(
        f"pair '{pair.id}' ({pair.source or 'no source'}) has no mask for its {role} candidate: {folder} holds none of "
        f"{', '.join(names)}. A white image counts everything."
    )


def read_regions(folder: Path, pairs: Sequence[Pair], resolution: int, size: tuple[int, int]) -> Tensor:
    """``(B, n, h, w)``: the masks of each pair's candidates in the order of their roles, means over what a latent's
    position covers, in [0, 1]."""
    rows = []
    for pair in pairs:
        paths = [find_region(folder, pair, role, answer) for role, answer in pair.answers.items()]
        pixels = torch.stack([prepare_image(open_image(path), resolution).mean(0) for path in paths])
        rows.append(F.adaptive_avg_pool2d((pixels + 1.0) / 2.0, size))
    return torch.stack(rows).clamp(0.0, 1.0)


@contextmanager
def features(network: nn.Module, config: RegionConfig | None) -> Iterator[list[Tensor]]:
    """Within the block, what a denoiser's middle block leaves, where masks are made of it."""
    seen: list[Tensor] = []
    if config is None or config.kind != "activations":
        yield seen
        return
    middle: Any = network.mid_block
    hook = middle.register_forward_hook(lambda _, __, output: seen.append(output.detach().float()))
    try:
        yield seen
    finally:
        hook.remove()


def position_masks(
    regions: Tensor | None, seen: Sequence[Tensor], size: Sequence[int], mirrored: Sequence[Tensor | None]
) -> Tensor | None:
    """``(2, n, B, h w)``: how much each position counts in reward and divergence; None where nothing says.

    Args:
        regions: ``(B, n, h, w)`` from files.
        seen: ``(nB, C, h', w')``, what the middle block left.
        size: ``(h, w)``.
        mirrored: Of each candidate which rows were judged mirrored.
    """
    if regions is not None:
        maps = regions.transpose(0, 1)
    elif seen:
        large = F.interpolate(seen[-1].mean(1, keepdim=True), size=tuple(size), mode="bilinear", align_corners=False)
        parts = rescaled(large[:, 0]).chunk(len(mirrored))
        maps = torch.stack([turned(part, rows) for part, rows in zip(parts, mirrored, strict=True)])
    else:
        return None
    return maps.flatten(2).expand(2, -1, -1, -1)


def turned(maps: Tensor, rows: Tensor | None) -> Tensor:
    """The maps ``(B, ..., w)`` with those of some rows, ``(B,)`` of booleans, mirrored from left to right."""
    if rows is None:
        return maps
    return torch.where(rows.view(-1, *[1] * (maps.ndim - 1)), maps.flip(-1), maps)


def rescaled(maps: Tensor) -> Tensor:
    """To [0, 1] within each map ``(B, h, w)``; where all of it is equal nothing tells positions apart: 1 each."""
    low, high = maps.flatten(1).aminmax(dim=1)
    low, span = low.view(-1, 1, 1), (high - low).view(-1, 1, 1)
    return torch.where(span > 0.0, (maps - low) / span.clamp(min=torch.finfo(maps.dtype).tiny), 1.0)
