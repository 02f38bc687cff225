"""Density ratio: how much likelier a prompt is among the good examples than among the bad ones.

    w(x) = f / (1 - f),      f = P(good | prompt x), both kinds taken as equally many

Where good and bad answers were given to different prompts, a classifier of answers may learn the prompts instead.
Undesirable examples weighed by ``w``, within limits, are as if they answered the good ones' prompts. ``f`` is a
logistic regression on hashed words and neighbours of words, fitted on one half of the prompts and asked about the
other: a prompt that was fitted on would be given away as good or bad by its own words.

Source: Jung et al. 2024 (arXiv 2404.04656), section 4, underlying distribution matching; embeddings of prompts are the
features there, words here, so that no further model is needed.
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
"""The column that the weights become: ``labels: {name: column, weight: weight}``."""
SIZE = 2**13
LOW, HIGH = 0.5, 10.0
_WORD = re.compile(r"\w+")


class HashedWords(NamedTuple):
    """Features of texts: which of :data:`SIZE` are there, text by text, each text's of length 1 together."""

    indices: Tensor
    offsets: Tensor
    values: Tensor


@dataclass(frozen=True)
class DensityWeights:
    """Weights of examples, and how sure the classifier was.

    Args:
        rows: ``{id: weight}``, 1 for good examples.
        accuracy: Balanced accuracy of the classifier on held-out prompts. At one half the two kinds share their
            prompts, and no weights are needed.
    """

    rows: dict[str, float]
    accuracy: float


def hash_words(texts: Sequence[str]) -> HashedWords:
    """Words, and each two that follow each other, by their hash; the same on every machine."""
    indices: list[int] = []
    offsets, values = [], []
    for text in texts:
        words = _WORD.findall(text.lower())
        grams = [*words, *(f"{one} {other}" for one, other in zip(words, words[1:], strict=False))]
        there = sorted({zlib.crc32(gram.encode("utf-8", "surrogatepass")) % SIZE for gram in grams})
        offsets.append(len(indices))
        indices += there
        values += [1.0 / math.sqrt(len(there))] * len(there) if there else []
    return HashedWords(torch.tensor(indices, dtype=torch.long), torch.tensor(offsets), torch.tensor(values).double())


def logits(bag: HashedWords, weights: Tensor) -> Tensor:
    """``(B,)``: of ``SIZE`` weights and, behind them, the constant."""
    table = weights[:-1].unsqueeze(1)
    found = F.embedding_bag(bag.indices, table, bag.offsets, mode="sum", per_sample_weights=bag.values)
    return found.squeeze(1) + weights[-1]


def fit_classifier(texts: Sequence[str], good: Sequence[bool]) -> Tensor:
    """Weights of the logistic regression: both kinds count alike, ridge 1, until nothing moves."""
    bag, sides = hash_words(texts), torch.tensor(good)
    share = torch.where(sides, sides.sum(), (~sides).sum()).double()
    counts = len(texts) / (2.0 * share)
    signs = torch.where(sides, 1.0, -1.0).double()
    weights = torch.zeros(SIZE + 1, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([weights], max_iter=200, tolerance_grad=1e-8, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = (counts * F.softplus(-signs * logits(bag, weights))).sum() + 0.5 * weights[:-1].square().sum()
        loss.backward()
        return loss

    optimizer.step(closure)  # type: ignore[arg-type]
    return weights.detach()


def density_weights(pairs: Sequence[Pair], *, per_kind: int = 1024) -> DensityWeights:
    """Weights of single examples that were judged good or bad.

    Args:
        pairs: Single examples.
        per_kind: At most so many distinct prompts of each kind are fitted on, in each half.

    Raises:
        DataError: Pairs; too few distinct prompts of a kind.
    """
    if compared := next((pair for pair in pairs if pair.rejected is not None), None):
        raise DataError(
            f"{compared.source or compared.id} compares two answers to one prompt: good and bad ones share their "
            "prompts, so every weight would be 1. The density ratio is for answers that were judged one by one."
        )
    prompts: dict[tuple[str, bool], None] = dict.fromkeys((str(pair.prompt), pair.desirable) for pair in pairs)
    halves: dict[tuple[int, bool], list[str]] = {(half, kind): [] for half in (0, 1) for kind in (True, False)}
    for text, kind in prompts:
        halves[_half(text), kind].append(text)
    if any(len(texts) < 2 for texts in halves.values()):
        good = sum(kind for _, kind in prompts)
        raise DataError(
            f"there are {good} distinct prompts of desirable and {len(prompts) - good} of undesirable examples: too "
            "few to learn how the two differ. Train without weights: --set labels=hard"
        )
    chance: dict[str, float] = {}
    for half in (0, 1):
        shown = {kind: sorted(halves[1 - half, kind], key=_rank)[:per_kind] for kind in (True, False)}
        weights = fit_classifier([*shown[True], *shown[False]], [True] * len(shown[True]) + [False] * len(shown[False]))
        asked = list(dict.fromkeys(halves[half, True] + halves[half, False]))
        chance |= dict(zip(asked, torch.sigmoid(logits(hash_words(asked), weights)).tolist(), strict=True))
    right = {kind: [(chance[text] > 0.5) == side for text, side in prompts if side == kind] for kind in (True, False)}
    accuracy = sum(sum(found) / len(found) for found in right.values()) / 2
    ratio = lambda f: min(max(f / (1.0 - f + 1e-8), LOW), HIGH)
    return DensityWeights({p.id: 1.0 if p.desirable else ratio(chance[str(p.prompt)]) for p in pairs}, accuracy)


def write_density_weights(
    found: PairSet, path: Path | None = None, *, split: str = "train"
) -> tuple[ScoreTable, DensityWeights]:
    """Computes the weights of a data set and writes them as a file that ``data.scores`` reads.

    Args:
        found: The examples, as :func:`~diffalign.data.readers.read_pairs` gives them.
        path: The file; None for the place that :func:`~diffalign.data.records.score_table.scores_path` gives.
        split: Which split they are, for that place.

    Raises:
        UserError: No place to write to.
        DataError: As :func:`density_weights`.
    """
    path = path or scores_path(found.source, WEIGHT, split)
    if path is None:
        raise UserError(f"'{found.source}' is no local file or folder. Say where the weights shall go: --output FILE")
    made = density_weights(found.pairs)
    rows = {name: (weight,) for name, weight in made.rows.items()}
    return write_scores(path, WEIGHT, rows, unit="factor", roles=("pair",)), made


def _rank(text: str) -> int:
    return zlib.crc32(text.encode("utf-8", "surrogatepass"))


def _half(text: str) -> int:
    """In which half a prompt is: the same for both kinds."""
    return _rank(text) >> 31
