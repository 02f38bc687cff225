"""Diversity: how far apart the samples of one prompt are. Alignment often buys its scores by making them alike.

    D = mean over prompts of the mean over pairs i < j of d(x_i, x_j)

with d = 1 - cos in a scorer's features, or without one, of images the root mean squared difference of pixels at
32 x 32 in [0, 1], and of texts the share of the distinct bigrams of two (pairs of neighbouring words) that only one of
them has.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from diffalign.scorers.image_input import as_rgb
from diffalign.scorers.scorer import Scorer, SupportsImageFeatures


@dataclass(frozen=True)
class Space:
    """Where samples are compared.

    Args:
        name: How reports call it.
        features: Contents to ``(N, ...)``.
        distance: ``distance(first (P, ...), second (P, ...)) -> (P,)``, >= 0.
    """

    name: str
    features: Callable[[Sequence[Any]], np.ndarray]
    distance: Callable[[np.ndarray, np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Diversity:
    """Mean pairwise distance within a prompt.

    Args:
        base, aligned: The distance for either model, >= 0; larger is more diverse; nan when no prompt has two samples.
        space: Where it was measured: a scorer's name, ``"pixels"`` or ``"bigrams"``.
        prompts: Prompts with at least two samples.
    """

    base: float
    aligned: float
    space: str
    prompts: int

    @property
    def change(self) -> float:
        """Relative change: -0.2 when a fifth of the diversity is gone; nan when the base has none."""
        return self.aligned / self.base - 1 if self.base > 0 else math.nan


def pixel_features(images: Sequence[Any]) -> np.ndarray:
    """Images at 32 x 32 in [0, 1], flattened: ``(N, 3072)`` float32."""
    small = [np.asarray(as_rgb(image).resize((32, 32)), np.float32).reshape(-1) / 255 for image in images]
    return np.stack(small) if small else np.zeros((0, 3072), np.float32)


def bigram_features(texts: Sequence[str]) -> np.ndarray:
    """The set of bigrams of each text, its edges included, so that texts of one word have some: ``(N,)`` objects."""
    found = np.empty(len(texts), object)
    for number, text in enumerate(texts):
        words = ["", *text.lower().split(), ""]
        found[number] = frozenset(zip(words, words[1:], strict=False))
    return found


def _rms(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    return np.sqrt(((first - second) ** 2).mean(-1))


def _cosine(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    return np.maximum(1 - (first * second).sum(-1), 0)


def _unshared(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """The Jaccard distance of sets."""
    return np.array([len(a ^ b) / len(a | b) for a, b in zip(first, second, strict=True)])


PIXELS = Space("pixels", pixel_features, _rms)
BIGRAMS = Space("bigrams", bigram_features, _unshared)


def encoder_space(scorers: Sequence[Scorer], otherwise: Space) -> Space:
    """The space of the first scorer with ``image_features(images) -> (N, D)`` of unit length; else ``otherwise``."""
    encoder = next((scorer for scorer in scorers if isinstance(scorer, SupportsImageFeatures)), None)
    if encoder is None:
        return otherwise
    return Space(encoder.name, lambda images: np.asarray(encoder.image_features(images)), _cosine)


def diversity(
    base: Sequence[Any], aligned: Sequence[Any], prompts: Sequence[Hashable], space: Space = PIXELS
) -> Diversity:
    """Compares how different the samples of one prompt are.

    Args:
        base, aligned: Contents, ``N`` each; position i of both belongs to prompt i.
        prompts: ``N`` prompts; those that occur once do not count.
        space: Where they are compared.
    """
    distances = [mean_pairwise_distance(space.features(side), prompts, space.distance) for side in (base, aligned)]
    several = sum(list(prompts).count(prompt) > 1 for prompt in set(prompts))
    return Diversity(distances[0], distances[1], space.name, several)


def mean_pairwise_distance(features: np.ndarray, prompts: Sequence[Hashable], distance: Any) -> float:
    """Mean over prompts of the mean ``distance`` between their samples."""
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
