"""Weights undesirable examples by the density ratio of their prompts: desirable over undesirable examples.

    w(x) = f / (1 - f),      f = P(desirable | prompt x), with both classes balanced

Where desirable and undesirable answers have different prompts, a classifier of answers may learn the prompts instead.
Weighted by ``w``, within limits, undesirable examples have the prompt distribution of the desirable ones. ``f`` is a
logistic regression on hashed words and pairs of neighbouring words, fitted on one half of the prompts and evaluated on
the other: on a prompt that it was fitted on, its own words would reveal the class.

Source: Jung et al. 2024 (arXiv 2404.04656), section 4, underlying distribution matching. Their features are embeddings
of prompts; here they are words, so that no further model is needed.
"""

from __future__ import annotations

import math
import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from diffalign.data.records.pair import Pair, PairSet
from diffalign.data.records.score_table import ScoreTable, scores_path, write_scores
from diffalign.errors import DataError, UserError

WEIGHT = "weight"
"""Name of the weights as a column: ``labels: {name: column, weight: weight}``."""
SIZE = 2**13
LOW, HIGH = 0.5, 10.0
_WORD = re.compile(r"\w+")


class HashedWords(NamedTuple):
    """Features of texts, out of :data:`SIZE`, as the input of an embedding bag; each text's features have norm 1."""

    indices: Tensor
    offsets: Tensor
    values: Tensor


@dataclass(frozen=True)
class DensityWeights:
    """Weights of examples, and the accuracy of the classifier.

    Args:
        weights: ``{id: weight}``, 1 for desirable examples.
        accuracy: Balanced accuracy of the classifier on held-out prompts. At one half both classes have the same
            prompts, and no weights are needed.
    """

    weights: dict[str, float]
    accuracy: float


def hash_words(texts: Sequence[str]) -> HashedWords:
    """Hashes words, and pairs of neighbouring words; the hashes are the same on every machine."""
    indices: list[int] = []
    offsets, values = [], []
    for text in texts:
        words = _WORD.findall(text.lower())
        grams = [*words, *(f"{one} {other}" for one, other in zip(words, words[1:], strict=False))]
        hashes = sorted({zlib.crc32(gram.encode("utf-8", "surrogatepass")) % SIZE for gram in grams})
        offsets.append(len(indices))
        indices += hashes
        values += [1.0 / math.sqrt(len(hashes))] * len(hashes) if hashes else []
    return HashedWords(torch.tensor(indices, dtype=torch.long), torch.tensor(offsets), torch.tensor(values).double())


def logits(features: HashedWords, weights: Tensor) -> Tensor:
    """Computes the logits ``(B,)`` from ``SIZE`` weights followed by the constant."""
    table = weights[:-1].unsqueeze(1)
    sums = F.embedding_bag(features.indices, table, features.offsets, mode="sum", per_sample_weights=features.values)
    return sums.squeeze(1) + weights[-1]


def fit_classifier(texts: Sequence[str], desirable: Sequence[bool]) -> Tensor:
    """Fits a logistic regression with balanced classes and ridge 1 to convergence, and returns its weights."""
    features, is_desirable = hash_words(texts), torch.tensor(desirable)
    class_size = torch.where(is_desirable, is_desirable.sum(), (~is_desirable).sum()).double()
    class_weights = len(texts) / (2.0 * class_size)
    signs = torch.where(is_desirable, 1.0, -1.0).double()
    weights = torch.zeros(SIZE + 1, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([weights], max_iter=200, tolerance_grad=1e-8, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        losses = class_weights * F.softplus(-signs * logits(features, weights))
        loss = losses.sum() + 0.5 * weights[:-1].square().sum()
        loss.backward()
        return loss

    optimizer.step(closure)  # type: ignore[arg-type]
    return weights.detach()


def density_weights(pairs: Sequence[Pair], *, per_class: int = 1024) -> DensityWeights:
    """Computes the weights of single examples.

    Args:
        pairs: Single examples, desirable and undesirable.
        per_class: Maximum number of distinct prompts of each class to fit on, in each half.

    Raises:
        DataError: The data has pairs, or too few distinct prompts of a class.
    """
    if compared := next((pair for pair in pairs if pair.rejected is not None), None):
        raise DataError(
            f"{compared.source or compared.id} compares two answers to one prompt: chosen and rejected share their "
            "prompts, so every weight would be 1. The density ratio is for answers that are labelled singly."
        )
    prompts: dict[tuple[str, bool], None] = dict.fromkeys((str(pair.prompt), pair.desirable) for pair in pairs)
    halves: dict[tuple[int, bool], list[str]] = {(half, label): [] for half in (0, 1) for label in (True, False)}
    for text, label in prompts:
        halves[_half(text), label].append(text)
    if any(len(texts) < 2 for texts in halves.values()):
        count = sum(label for _, label in prompts)
        raise DataError(
            f"there are {count} distinct prompts of desirable and {len(prompts) - count} of undesirable examples: too "
            "few to learn how the two differ. Train without weights: --set labels=hard"
        )
    probability: dict[str, float] = {}
    for half in (0, 1):
        fit_on = {label: sorted(halves[1 - half, label], key=_hash)[:per_class] for label in (True, False)}
        labels = [True] * len(fit_on[True]) + [False] * len(fit_on[False])
        weights = fit_classifier([*fit_on[True], *fit_on[False]], labels)
        held_out = list(dict.fromkeys(halves[half, True] + halves[half, False]))
        probability |= dict(zip(held_out, torch.sigmoid(logits(hash_words(held_out), weights)).tolist(), strict=True))
    correct = {
        label: [(probability[text] > 0.5) == label for text, its_label in prompts if its_label == label]
        for label in (True, False)
    }
    accuracy = sum(sum(of_class) / len(of_class) for of_class in correct.values()) / 2
    ratio = lambda f: min(max(f / (1.0 - f + 1e-8), LOW), HIGH)
    return DensityWeights({p.id: 1.0 if p.desirable else ratio(probability[str(p.prompt)]) for p in pairs}, accuracy)


def write_density_weights(
    dataset: PairSet, path: Path | None = None, *, split: str = "train"
) -> tuple[ScoreTable, DensityWeights]:
    """Computes the weights of a data set and writes them to a file that ``data.scores`` reads.

    Args:
        dataset: The examples, as :func:`~diffalign.data.readers.read_pairs` returns them.
        path: The file; None for that of :func:`~diffalign.data.records.score_table.scores_path`.
        split: The split of the examples, for that path.

    Raises:
        UserError: The data set is not local, and no path is given.
        DataError: See :func:`density_weights`.
    """
    path = path or scores_path(dataset.source, WEIGHT, split)
    if path is None:
        raise UserError(f"'{dataset.source}' is no local file or folder. Give the file for the weights: --output FILE")
    density = density_weights(dataset.pairs)
    rows = {name: (weight,) for name, weight in density.weights.items()}
    return write_scores(path, WEIGHT, rows, unit="factor", roles=("pair",)), density


def _hash(text: str) -> int:
    return zlib.crc32(text.encode("utf-8", "surrogatepass"))


def _half(text: str) -> int:
    """Returns the half of a prompt, 0 or 1: the same for both classes."""
    return _hash(text) >> 31
