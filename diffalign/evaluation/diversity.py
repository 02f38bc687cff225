"""Diversity: how far apart the pictures of one prompt are. Alignment often buys its scores by making them alike.

    D = mean over prompts of the mean over pairs i < j of d(x_i, x_j)

with d = 1 - cos in a scorer's image features, or the root mean squared difference of pixels at 32 x 32 in [0, 1].
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from diffalign.scorers.pictures import as_rgb


@dataclass(frozen=True)
class Diversity:
    """Mean pairwise distance within a prompt.

    Args:
        base, aligned: The distance for either model, >= 0; larger is more diverse; nan when no prompt has two pictures.
        space: Where it was measured: a scorer's name, or ``"pixels"``.
        prompts: Prompts with at least two pictures.
    """

    base: float
    aligned: float
    space: str
    prompts: int

    @property
    def change(self) -> float:
        """Relative change: -0.2 when a fifth of the diversity is gone; nan when the base has none."""
        return self.aligned / self.base - 1 if self.base > 0 else math.nan


def diversity(
    base: Sequence[Any], aligned: Sequence[Any], prompts: Sequence[Hashable], encoder: Any | None = None
) -> Diversity:
    """Compares how different the pictures of one prompt are.

    Args:
        base, aligned: Pictures, ``N`` each; position i of both belongs to prompt i.
        prompts: ``N`` prompts; those that occur once do not count.
        encoder: A scorer with ``image_features(images) -> (N, D)`` of unit length; pixels without.
    """
    space = "pixels" if encoder is None else encoder.name
    distances = []
    for images in (base, aligned):
        if encoder is None:
            features, distance = pixel_features(images), _rms
        else:
            features, distance = np.asarray(encoder.image_features(images)), _cosine
        distances.append(mean_pairwise_distance(features, prompts, distance))
    several = sum(list(prompts).count(prompt) > 1 for prompt in set(prompts))
    return Diversity(distances[0], distances[1], space, several)


def pixel_features(images: Sequence[Any]) -> np.ndarray:
    """Pictures at 32 x 32 in [0, 1], flattened: ``(N, 3072)`` float32."""
    small = [np.asarray(as_rgb(image).resize((32, 32)), np.float32).reshape(-1) / 255 for image in images]
    return np.stack(small) if small else np.zeros((0, 3072), np.float32)


def mean_pairwise_distance(features: np.ndarray, prompts: Sequence[Hashable], distance: Any) -> float:
    """Mean over prompts of the mean ``distance(first (P, D), second (P, D)) -> (P,)`` between their pictures."""
    members: dict[Hashable, list[int]] = {}
    for index, prompt in enumerate(prompts):
        members.setdefault(prompt, []).append(index)
    means = []
    for rows in members.values():
        if len(rows) > 1:
            i, j = np.triu_indices(len(rows), 1)
            own = features[rows]
            means.append(float(distance(own[i], own[j]).mean()))
    return float(np.mean(means)) if means else math.nan


def _rms(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    return np.sqrt(((first - second) ** 2).mean(-1))


def _cosine(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    return np.maximum(1 - (first * second).sum(-1), 0)
