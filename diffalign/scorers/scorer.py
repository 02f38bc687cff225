"""The seam of scorers: prompts and samples (images or texts) in, one number per sample out, higher is better.

A scorer states its unit and range, because published numbers of "the same" scorer differ by factors of 26 and 100, and
the hash of its weights, because two checkpoints under one name are two scorers.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from diffalign.errors import UserError


class Scorer(Protocol):
    """What evaluation, and pair making, need to know of a judge."""

    name: str
    """How reports call it, the model included: ``"clip:openai/clip-vit-large-patch14"``."""

    unit: str
    """What one score means: ``"cosine"``, ``"probability"``, ``"share of border pixels"``."""

    range: tuple[float, float]
    """Lowest and highest possible score."""

    license: str
    """Licence of the published weights, or ``"see the model's page"`` where the user names the model."""

    paper: str
    """Where it is described."""

    medium: str
    """What it judges: ``"image"`` or ``"text"``."""

    @property
    def weights(self) -> str:
        """Hash of the parameters; empty for a scorer without any."""

    def score(self, prompts: Sequence[Any], samples: Sequence[Any], /) -> Tensor:
        """``(B,)`` float32 on the CPU, higher is better. Images are PIL images, ``(H, W, 3)`` uint8 arrays, paths or
        encoded bytes, of any size and mode; texts are strings, conversations or paths of text files."""


@dataclass(frozen=True)
class ScorerEntry:
    """A row of the table: scorers are too heavy to be imported before they are wanted.

    Args:
        load: ``load(argument, device)`` returns the scorer; the argument is what follows the colon, perhaps empty.
        argument: What may follow the colon, in words.
        summary: One line for lists.
        medium: What the scorer judges: ``"image"`` or ``"text"``.
        extra: The extra to install for it; empty when diffalign's own dependencies suffice.
    """

    load: Callable[[str, str], Scorer]
    argument: str
    summary: str
    medium: str = "image"
    extra: str = ""


def check_prompt_count(prompts: Sequence[Any], samples: Sequence[Any]) -> None:
    """Raises :class:`UserError` unless there is one prompt for each sample."""
    if len(prompts) != len(samples):
        raise UserError(
            f"A scorer takes one prompt for each sample; got {len(prompts)} prompts and {len(samples)} samples. "
            "Repeat the prompt for each of its samples."
        )


def chunks(values: Sequence[Any], size: int) -> list[Sequence[Any]]:
    """``values`` in parts of at most ``size``, in order."""
    return [values[start : start + size] for start in range(0, len(values), size)]


def state_hash(state: Mapping[str, Tensor]) -> str:
    """SHA-256 over names and values of a state dictionary, first 16 hex digits; the file layout does not matter."""
    digest = hashlib.sha256()
    for name in sorted(state):
        tensor = state[name].detach().to("cpu").contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()[:16]
