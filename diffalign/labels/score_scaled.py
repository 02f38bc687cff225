"""Labels from a scorer: the gap of the two scores scales the pair's logratios inside the loss.

Such a label is a beta for each pair. It is not label smoothing (``label_noise``), which mixes the loss with that of the
swapped pair. A negative scale marks a pair whose order the scorer contradicts; its loss is that of the swapped pair
with a positive scale. So ``source: scorer`` and ``source: human`` train alike and differ in what metrics call *chosen*
(``Label.relabels``): with ``scorer`` the loop swaps rows of negative scale before it computes metrics, with ``human``
metrics keep the order of the vote.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor

from diffalign.data.records.label_agreement import is_rank
from diffalign.data.records.pair import Pair
from diffalign.errors import DataError, near_miss
from diffalign.labels.label import Label
from diffalign.labels.score_range import LOGIT_SCALE, PublishedRange, check_unit, range_of
from diffalign.labels.score_range import published_range as published

SOURCES = ("scorer", "human", "agreement")
ROLES = ("chosen", "rejected")


def score_scaled(
    pairs: Sequence[Pair],
    *,
    scorer: str = "",
    gamma: float = 10.0,
    alpha: float | None = None,
    source: Literal["scorer", "human", "agreement"] = "scorer",
    low: float | None = None,
    high: float | None = None,
    published_range: PublishedRange | None = None,
    skip_below: float = 0.0,
    ranges: Mapping[str, tuple[float, float]] = {},  # noqa: B006  (read, never changed)
) -> Label:
    """SmPO's smoothed preference: a scale on the logratios, probability and weight 1.

        w_b = 2 alpha_b - gamma = gamma tanh(g_b / 2),      alpha_b / gamma = sigmoid(g_b),
        g_b = r'_chosen - r'_rejected,                      r' = (r - low) / (high - low), clamped to [0, 1]

    Args:
        pairs: The batch, with scores of both candidates.
        scorer: Name under which the scores are stored. Not needed with ``alpha``.
        gamma: Sensitivity, > 0: all scales lie within 0.4622 gamma of 0, typical ones are a tenth of it.
        alpha: One value in [0, gamma] for all pairs in place of the scorer's, in the order of the votes: 1 with gamma 1
            is the plain loss.
        source: Decides which candidate is the better one. "scorer": the score, as published; "human": the vote, with
            the scorer's sign kept in the scale, which trains the same and reports metrics against the vote;
            "agreement": both, so a pair whose vote the scorer contradicts gets scale 0.
        low, high: Score that becomes 0, and 1; by default the smallest and largest of the whole table of scores.
            Scores beyond are clamped: their pair counts as if they were at the end of the range.
        published_range: Take PickScore's smallest and largest score on Pick-a-Pic v2 instead, as the released script
            does for every data set. It says what the scores are: "cosine", the bare cosine of image and prompt, 0.1154
            to 0.2820 (a scorer ``clip:FOLDER`` with PickScore's weights); "logit", 100 times that, 11.54 to 28.20 (the
            scorer ``pickscore``). Nothing of its own data lies beyond; scores of other data are clamped.
        skip_below: Pairs with ``|w|`` below get scale 0 and are not computed.
        ranges: ``{scorer: (low, high)}`` of the data set.

    Raises:
        DataError: A pair without a score, a scorer without a range, a range without extent, a score that cannot be in
            the unit of the published range.
        ValueError: A setting that is out of its range, or the scorer's name missing.

    Facts: a constant added to all scores, or another unit, changes nothing as long as low and high change with them.
        Equal scores give scale 0: the loss is log 2 and the gradient exactly 0. Swapped pairs get the negated scale.

    Source: Lu et al. 2025, SmPO-Diffusion (arXiv 2506.02698), eq. 8, 9 and the label model below them; gamma 10,
        PickScore; see `score_range` for the published range.
    """
    _check_settings(scorer, gamma, alpha, source, skip_below)
    _check_range_settings(alpha, low, high, published_range)
    ones = torch.ones(len(pairs), dtype=torch.float64)
    if alpha is not None:
        scale = ones * (2.0 * alpha - gamma)
    else:
        scores = [[_score(pair, role, scorer) for role in ROLES] for pair in pairs]
        if published_range is not None:
            for pair, both in zip(pairs, scores, strict=True):
                check_unit(pair, both, scorer, published_range)
            span = published(published_range)
        else:
            is_known = bool(pairs) or None not in (low, high)
            span = range_of(scorer, low, high, ranges, _command(scorer)) if is_known else (0.0, 1.0)
        chosen, rejected = _normalised(scores, span).unbind(1)
        scale = gamma * torch.tanh((chosen - rejected) / 2.0)
    if source == "agreement":
        scale = scale.clamp(min=0.0)
    scale = torch.where(scale.abs() < skip_below, torch.zeros_like(scale), scale)
    return Label(ones, ones, scale=scale, relabels=source == "scorer" and alpha is None)


def _normalised(scores: Sequence[Sequence[float]], span: tuple[float, float]) -> Tensor:
    """Returns ``r'``, ``(B, 2)`` float64."""
    low, high = span
    values = torch.tensor(scores, dtype=torch.float64).view(-1, len(ROLES))
    return (values.clamp(low, high) - low) / (high - low)


def _score(pair: Pair, role: str, scorer: str) -> float:
    scores = pair.scores.get(role, {})
    if scorer in scores:
        return scores[scorer]
    available = f" It has scores by {', '.join(scores)}.{near_miss(scorer, scores)}" if scores else ""
    raise DataError(
        f"{pair.source or pair.id}: no score of its {role} candidate by '{scorer}'.{available} {_command(scorer)}"
    )


def _command(scorer: str) -> str:
    return (
        f"Make scores with `diffalign score DATA --scorer {scorer}` and name the file under data.scores in the recipe."
    )


def _check_settings(scorer: str, gamma: float, alpha: float | None, source: str, skip_below: float) -> None:
    if source not in SOURCES:
        raise ValueError(f"source of the label 'score_scaled' is one of {', '.join(SOURCES)}; got {source!r}.")
    if not 0.0 < gamma < math.inf:
        raise ValueError(f"gamma is the sensitivity of the label, above 0 (published: 10); got {gamma}.")
    if alpha is None and not scorer:
        raise ValueError("the label 'score_scaled' needs the name of a scorer, such as scorer: pickscore, or an alpha.")
    if alpha is None and is_rank(scorer):
        raise ValueError(
            f"'{scorer}' is a rank, of which the lower is better; the label needs a score. Store its negative."
        )
    if alpha is not None and not 0.0 <= alpha <= gamma:
        raise ValueError(f"alpha is a share of gamma, so it must lie in [0, {gamma}]; got {alpha}.")
    if alpha is not None and source == "agreement":
        raise ValueError("a fixed alpha uses no scorer, so there is nothing to agree with. Leave out one of the two.")
    largest = gamma * math.tanh(0.5) if alpha is None else math.inf
    if not 0.0 <= skip_below < largest:
        raise ValueError(
            f"skip_below is a size of the scale w, which stays within {gamma * math.tanh(0.5):.4g}, so it must lie in "
            f"[0, {gamma * math.tanh(0.5):.4g}); got {skip_below}."
        )


def _check_range_settings(
    alpha: float | None, low: float | None, high: float | None, published_range: PublishedRange | None
) -> None:
    if published_range is None:
        return
    if published_range not in LOGIT_SCALE:
        raise ValueError(
            "published_range says what the scores of PickScore are: cosine, or logit as the scorer 'pickscore' writes "
            f"them, 100 times as large; got {published_range!r}."
        )
    if low is not None or high is not None:
        raise ValueError("published_range has its own low and high. Leave out one or the other.")
    if alpha is not None:
        raise ValueError("a fixed alpha uses no scores, so there is no range to normalise them by. Leave out one.")
