"""Weights pairs by how rare their scores are: typical comparisons count less, rare ones more.

    p_b = h_w(s_w,b) h_l(s_l,b)          h_w: share of winners whose score lies in the same bin, h_l likewise of losers
    weight_b = (max p / p_b)^alpha       the most common pair has weight 1; alpha 0 gives every pair weight 1

The maximum is that of the set in hand. (VideoDPO's released code has the constant 0.72, the maximum of its own set,
which turns into weights below 1 or above on any other.) Weights are factors on the pairs' losses, so their mean acts as
a factor on the learning rate, which is therefore reported.

Source: Liu et al. 2024 (arXiv 2412.14167), re-weighting of pairs; their factor is outside the log-sigmoid, as ours.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from diffalign.data.records.pair import Pair, PairSet
from diffalign.data.records.score_table import ScoreTable, score_command, scores_path, write_scores
from diffalign.data.transforms.weight_by_prompt_classifier import WEIGHT
from diffalign.errors import DataError, UserError, near_miss

ALPHA, BINS = 0.5, 10


def rarity_weights(probabilities: Sequence[float], alpha: float = ALPHA) -> list[float]:
    """Returns the weight of each pair; 1 for the most common.

    Args:
        probabilities: How common each pair is, above 0.
        alpha: Strength, 0 or more.

    Raises:
        UserError: The strength is negative or not finite.
        DataError: There is no pair, or a probability that is not above 0 and finite.
    """
    if not (math.isfinite(alpha) and alpha >= 0):
        raise UserError(f"alpha is the strength of the weights, 0 or more; got {alpha:g}. Published: 0 to 1.")
    if not probabilities:
        raise DataError("there is no pair to weight.")
    if wrong := [p for p in probabilities if not (math.isfinite(p) and p > 0)]:
        raise DataError(f"a pair's probability is above 0 and finite; got {wrong[0]:g}.")
    most = max(probabilities)
    return [(most / p) ** alpha for p in probabilities]


def pair_probabilities(chosen: Sequence[float], rejected: Sequence[float], bins: int = BINS) -> list[float]:
    """Returns for each pair the share of winners in the bin of its winner's score times that of losers in its loser's.

    Args:
        chosen, rejected: Scores of winners and losers; each side has a histogram over its own range.
        bins: Number of equal bins, 1 or more.

    Raises:
        UserError: There is no bin.
    """
    if bins < 1:
        raise UserError(f"bins is the number of bins of the two histograms, 1 or more; got {bins}.")
    shares = [_bin_shares(np.asarray(side, np.float64), bins) for side in (chosen, rejected)]
    return [float(value) for value in shares[0] * shares[1]]


def _bin_shares(scores: np.ndarray, bins: int) -> np.ndarray:
    """Returns for each score the share of scores in its bin; a score on an inner edge lies in the upper bin."""
    low, high = scores.min(), scores.max()
    place = np.zeros(len(scores), int) if low == high else ((scores - low) / (high - low) * bins).astype(int)
    place = np.minimum(place, bins - 1)
    return np.asarray(np.bincount(place, minlength=bins)[place] / len(scores))


def write_rarity_weights(
    dataset: PairSet,
    path: Path | None = None,
    *,
    scorer: str = "",
    probability: str = "",
    alpha: float = ALPHA,
    bins: int = BINS,
    split: str = "train",
) -> ScoreTable:
    """Computes the weights of a data set and writes them to a file that ``data.scores`` reads.

    Args:
        dataset: Pairs with their scores.
        path: The file; None for that of :func:`~diffalign.data.records.score_table.scores_path`.
        scorer: Name of the scores; empty where the pairs have scores by one scorer.
        probability: Name of a column with each pair's probability, in place of scores.
        alpha: Strength of the weights.
        bins: Bins of the histograms.
        split: The split of the pairs, for the path.

    Raises:
        UserError: The data set is not local and no path is given, or a setting is out of range.
        DataError: A pair has no score or no probability.
    """
    path = path or scores_path(dataset.source, WEIGHT, split)
    if path is None:
        raise UserError(f"'{dataset.source}' is no local file or folder. Give the file for the weights: --output FILE")
    pairs = list(dataset.pairs)
    if probability:
        common = [_number(pair, ("pair",), probability, dataset.source)[0] for pair in pairs]
    else:
        name = scorer or _only_scorer(pairs, dataset.source)
        both = [_number(pair, ("chosen", "rejected"), name, dataset.source) for pair in pairs]
        common = pair_probabilities([winner for winner, _ in both], [loser for _, loser in both], bins) if both else []
    weights = rarity_weights(common, alpha)
    rows = {pair.id: (weight,) for pair, weight in zip(pairs, weights, strict=True)}
    return write_scores(path, WEIGHT, rows, unit="factor", roles=("pair",))


def _only_scorer(pairs: Sequence[Pair], source: str) -> str:
    names = {name for pair in pairs[:1] for name in pair.scores.get("chosen", {})}
    if len(names) != 1:
        found = f"there are several: {', '.join(sorted(names))}" if names else "there are none"
        raise DataError(
            f"rarity needs the scores of one scorer, and {found}. Name it, --scorer NAME, or make them: "
            f"{score_command(source, 'NAME')}"
        )
    return names.pop()


def _number(pair: Pair, roles: Sequence[str], name: str, source: str) -> list[float]:
    try:
        return [pair.scores[role][name] for role in roles]
    except KeyError as error:
        known = {known for role in roles for known in pair.scores.get(role, {})}
        raise DataError(
            f"{pair.source or pair.id} has no '{name}' for {' and '.join(roles)}.{near_miss(name, known)} Known: "
            f"{', '.join(sorted(known)) or 'none'}. Scores are made with {score_command(source, name)} and given with "
            "--scores FILE."
        ) from error
