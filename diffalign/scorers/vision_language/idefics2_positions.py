"""Where Idefics2's vision encoder places the patches of a frame, whichever version of transformers runs it.

    patch i of n on a side lies at i / n, in cell floor(P i / n) of the P cells that the encoder learned

Versions 4.55 to 4.57 of transformers multiply i / n by 1 - 1e-6 first, which moves each patch on the border of a cell
into the cell before; versions before and after do not, and the published weights were trained without. The number
format of the network decided over borders as well. So the cells are computed here, in float32.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor


def place_patches(embeddings: Any) -> None:
    """Makes the embeddings of a vision encoder place the patches of whole frames, without padding, as stated above."""
    embeddings.forward = partial(_embed, embeddings)


def cells(patches: int, side: int) -> Tensor:
    """Returns the cell of each of ``patches`` patches on a side that has ``side`` cells, ``(patches,)``."""
    places = (torch.arange(patches, dtype=torch.float32) * (1.0 / patches)).clamp(max=1 - 1e-6)
    return torch.bucketize(places, torch.arange(1 / side, 1.0, 1 / side), right=True)


def _embed(embeddings: Any, pixel_values: Tensor, patch_attention_mask: Tensor) -> Tensor:
    patches = embeddings.patch_embedding(pixel_values)
    side = embeddings.num_patches_per_side
    places = cells(patches.shape[2], side)[:, None] * side + cells(patches.shape[3], side)
    return patches.flatten(2).transpose(1, 2) + embeddings.position_embedding(places.flatten().to(patches.device))
