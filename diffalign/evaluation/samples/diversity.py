"""Diversity: the distance between samples of one prompt. Alignment often raises scores at the cost of diversity.

    D = mean over prompts of the mean over pairs i < j of d(x_i, x_j)

where d is 1 - cos in a scorer's features. Without such a scorer, d is the root mean squared difference of pixels at
32 x 32 in [0, 1] for images, the same over eight frames for clips, and for texts the share of the distinct bigrams
(pairs of neighbouring words) of two texts that occur in only one of them.

Beside it stands the Vendi score, the effective number of different samples of a prompt, with cosines of the same
features as similarities, and for texts the share of common bigrams.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from diffalign.evaluation.samples.clip_frames import evenly_spaced
from diffalign.evaluation.stats.vendi import vendi_score
from diffalign.scorers.clips.clip_input import as_clip
from diffalign.scorers.images.image_input import as_rgb
from diffalign.scorers.scorer import Scorer, SupportsImageFeatures


@dataclass(frozen=True)
class FeatureSpace:
    """A feature space with a distance.

    Args:
        name: Name in reports.
        features: Contents to ``(N, ...)``.
        distance: ``distance(first (P, ...), second (P, ...)) -> (P,)``, >= 0.
        similarity: ``similarity(features (N, ...)) -> (N, N)``, a positive semidefinite kernel with ones on its
            diagonal, for the Vendi score.
    """

    name: str
    features: Callable[[Sequence[Any]], np.ndarray]
    distance: Callable[[np.ndarray, np.ndarray], np.ndarray]
    similarity: Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Diversity:
    """Mean pairwise distance within a prompt.

    Args:
        base, aligned: The distance for each model, >= 0; larger is more diverse; nan if no prompt has two samples.
        space: Name of the feature space: a scorer's name, ``"pixels"``, ``"pixels of 8 frames"`` or ``"bigrams"``.
        prompts: Number of prompts with at least two samples.
        base_vendi, aligned_vendi: Effective number of different samples of a prompt, averaged over prompts: from 1 (all
            are copies) to the number of seeds; nan where unknown.
    """

    base: float
    aligned: float
    space: str
    prompts: int
    base_vendi: float = math.nan
    aligned_vendi: float = math.nan

    @property
    def change(self) -> float:
        """Relative change: -0.2 if a fifth of the diversity is lost; nan if the base has none."""
        return self.aligned / self.base - 1 if self.base > 0 else math.nan


def pixel_features(images: Sequence[Any]) -> np.ndarray:
    """Returns images at 32 x 32 in [0, 1], flattened: ``(N, 3072)`` float32."""
    small = [np.asarray(as_rgb(image).resize((32, 32)), np.float32).reshape(-1) / 255 for image in images]
    return np.stack(small) if small else np.zeros((0, 3072), np.float32)


def clip_pixel_features(clips: Sequence[Any]) -> np.ndarray:
    """Returns eight evenly spaced frames of each clip as :func:`pixel_features`: ``(N, 8 * 3072)`` float32.

    Facts: the distance of two still clips is that of their images; two clips of the same first frame that move apart
    have a distance.
    """
    features = []
    for content in clips:
        frames = as_clip(content).frames
        features.append(pixel_features(list(frames[evenly_spaced(len(frames), CLIP_FRAMES)])).reshape(-1))
    return np.stack(features) if features else np.zeros((0, CLIP_FRAMES * 3072), np.float32)


def bigram_features(texts: Sequence[str]) -> np.ndarray:
    """Returns the set of bigrams of each text, ``(N,)`` objects. The edges count, so texts of one word have bigrams."""
    features = np.empty(len(texts), object)
    for number, text in enumerate(texts):
        words = ["", *text.lower().split(), ""]
        features[number] = frozenset(zip(words, words[1:], strict=False))
    return features


def _rms(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    return np.sqrt(((first - second) ** 2).mean(-1))


def _cosine(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    return np.maximum(1 - (first * second).sum(-1), 0)


def _jaccard(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Returns the Jaccard distance of sets."""
    return np.array([len(a ^ b) / len(a | b) for a, b in zip(first, second, strict=True)])


def _cosines(features: np.ndarray) -> np.ndarray:
    """Returns the cosines of all pairs, as published Vendi scores of pixels use them; black images count as equal."""
    vectors = features.astype(np.float64)
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit = np.where(lengths > 0, vectors / np.maximum(lengths, 1e-12), 1 / math.sqrt(vectors.shape[1]))
    return np.asarray(unit @ unit.T)


def _jaccard_similarities(features: np.ndarray) -> np.ndarray:
    """Returns the shares of common members of all pairs of sets, which are a positive semidefinite kernel."""
    return np.array([[len(a & b) / len(a | b) for b in features] for a in features])


CLIP_FRAMES = 8
PIXELS = FeatureSpace("pixels", pixel_features, _rms, _cosines)
CLIP_PIXELS = FeatureSpace("pixels of 8 frames", clip_pixel_features, _rms, _cosines)
BIGRAMS = FeatureSpace("bigrams", bigram_features, _jaccard, _jaccard_similarities)


def choose_space(scorers: Sequence[Scorer], default: FeatureSpace) -> FeatureSpace:
    """Returns the space of the first scorer with unit-length ``image_features(images) -> (N, D)``, or ``default``."""
    encoder = next((scorer for scorer in scorers if isinstance(scorer, SupportsImageFeatures)), None)
    if encoder is None:
        return default
    return FeatureSpace(encoder.name, lambda images: np.asarray(encoder.image_features(images)), _cosine, _cosines)


def compare_diversity(
    base: Sequence[Any], aligned: Sequence[Any], prompts: Sequence[Hashable], space: FeatureSpace = PIXELS
) -> Diversity:
    """Compares the diversity of the samples of two models.

    Args:
        base, aligned: Contents, ``N`` each; position i of both belongs to prompt i.
        prompts: ``N`` prompts; those that occur once do not count.
        space: Feature space of the distance.
    """
    features = [space.features(side) for side in (base, aligned)]
    distances = [mean_pairwise_distance(side, prompts, space.distance) for side in features]
    vendi = [mean_vendi_score(side, prompts, space.similarity) for side in features]
    repeated = sum(len(rows) > 1 for rows in _by_prompt(prompts))
    return Diversity(distances[0], distances[1], space.name, repeated, vendi[0], vendi[1])


def mean_pairwise_distance(features: np.ndarray, prompts: Sequence[Hashable], distance: Any) -> float:
    """Returns the mean over prompts of the mean ``distance`` between their samples."""
    means = []
    for rows in _by_prompt(prompts):
        if len(rows) > 1:
            i, j = np.triu_indices(len(rows), 1)
            group = features[rows]
            means.append(float(distance(group[i], group[j]).mean()))
    return float(np.mean(means)) if means else math.nan


def mean_vendi_score(features: np.ndarray, prompts: Sequence[Hashable], similarity: Any) -> float:
    """Returns the mean over prompts with two samples or more of their effective number of different samples."""
    scores = [vendi_score(similarity(features[rows])) for rows in _by_prompt(prompts) if len(rows) > 1]
    return float(np.mean(scores)) if scores else math.nan


def _by_prompt(prompts: Sequence[Hashable]) -> list[list[int]]:
    """Returns the positions of each prompt's samples."""
    members: dict[Hashable, list[int]] = {}
    for index, prompt in enumerate(prompts):
        members.setdefault(prompt, []).append(index)
    return list(members.values())
