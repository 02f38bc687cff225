"""Studies a data set with several probes on different features, each evaluated on held-out prompts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from diffalign.data.check.candidate_facts import is_text
from diffalign.data.records.pair import Pair
from diffalign.data.separability import image_features, text_features
from diffalign.data.separability.probe import Array, accuracy, auc, held_out_scores
from diffalign.errors import DataError

Features = tuple[Array, Array]
"""``(N, D)`` of the chosen candidates, and of the rejected ones."""

HIGH_AUC = 0.95
"""A set is suspicious from this AUC on: without a shortcut, chosen answers are rarely so easy to separate."""

ABOVE_QUALITY = 0.1
"""A set is suspicious where a probe is right this much more often than a quality score agrees with the labels."""

FEW_PAIRS = 100
"""Number of pairs below which the results are inaccurate."""

PERMUTED = "permuted labels"


@dataclass(frozen=True)
class ProbeResult:
    """How well one probe separates chosen from rejected, on held-out prompts.

    Args:
        accuracy: Share of candidates that are classified correctly.
        auc: How often a chosen candidate scores above a rejected one, over all combinations.
        paired: How often a pair's chosen candidate scores above its rejected one.
    """

    accuracy: float
    auc: float
    paired: float


@dataclass(frozen=True)
class Separability:
    """The result of a study.

    Args:
        pairs, prompts: Number of pairs and of distinct prompts.
        probes: Results by the name of the features; the last probe has the most features.
        permuted: The last probe with the labels of a random half of the pairs flipped: chance level, about 0.5.
        quality: Name of a stored score and its agreement with the labels; None without one.
        margins: By pair id, the last probe's score of the chosen minus that of the rejected candidate.
    """

    pairs: int
    prompts: int
    probes: Mapping[str, ProbeResult]
    permuted: ProbeResult
    quality: tuple[str, float] | None
    margins: Mapping[str, float]

    @property
    def reasons(self) -> list[str]:
        """The reasons why the set is suspicious, one sentence each; empty where it is not."""
        reasons = [
            f"by {name} only, a linear classifier reaches an AUC of {result.auc:.3f}, {HIGH_AUC} or more"
            for name, result in self.probes.items()
            if result.auc >= HIGH_AUC
        ]
        name, result = list(self.probes.items())[-1]
        if self.quality is not None and result.paired > self.quality[1] + ABOVE_QUALITY:
            reasons.append(
                f"by {name}, a linear classifier is right for {result.paired:.1%} of the pairs, while the score "
                f"'{self.quality[0]}' agrees with {self.quality[1]:.1%}"
            )
        return reasons

    @property
    def suspicious(self) -> bool:
        """Whether the form of an answer predicts its label."""
        return bool(self.reasons)

    def render(self) -> str:
        """Returns the report as plain text."""
        results = {**self.probes, PERMUTED: self.permuted}
        width = max(map(len, results))
        lines = [f"{'features':<{width}}  accuracy    AUC  paired"]
        lines += [f"{name:<{width}}  {r.accuracy:8.3f}  {r.auc:5.3f}  {r.paired:6.3f}" for name, r in results.items()]
        if self.quality is not None:
            lines.append(f"the score '{self.quality[0]}' agrees with {self.quality[1]:.1%} of the labels")
        lines.append(f"{self.pairs:,} pairs of {self.prompts:,} prompts, evaluated on held-out prompts")
        if self.pairs < FEW_PAIRS:
            lines.append(f"fewer than {FEW_PAIRS} pairs: the numbers are inaccurate")
        if self.suspicious:
            lines += [f"SUSPICIOUS: {reason}" for reason in self.reasons]
        else:
            lines.append("nothing suspicious: no probe finds a shortcut to the labels")
        return "\n".join(lines)


def study_separability(
    pairs: Sequence[Pair],
    features: Mapping[str, Features],
    *,
    folds: int = 5,
    penalty: float = 1.0,
    within: bool = False,
    quality: str = "",
    seed: int = 0,
) -> Separability:
    """Fits and evaluates a probe for each set of features.

    Args:
        pairs: Pairs with two candidates.
        features: By name; the last are those of the main probe. See :func:`surface_features`.
        folds: Number of folds of the cross-validation, by prompt.
        penalty: L2, see :func:`~diffalign.data.separability.probe.fit_probe`.
        within: Subtract each pair's mean from its two rows, so that only differences within pairs remain.
        quality: A stored score of both candidates to compare with.
        seed: Seed of the permuted labels.

    Raises:
        DataError: The data has single examples or fewer than two prompts, or a pair lacks the score.
    """
    require_pairs(pairs)
    prompts = [str(pair.prompt) for pair in pairs]
    if len(set(prompts)) < 2:
        raise DataError("all pairs have one prompt, but a probe needs other prompts to be evaluated on. Give more.")
    random_half = np.random.default_rng(seed).random(len(pairs)) < 0.5
    evaluate = partial(_evaluate_probe, groups=prompts, folds=folds, penalty=penalty)
    results, scores = {}, np.zeros(0)
    for name, sides in features.items():
        rows = _rows(sides, within)
        results[name], scores = evaluate(rows, np.zeros(len(pairs), dtype=bool))
    permuted, _ = evaluate(rows, random_half)
    gaps = scores[: len(pairs)] - scores[len(pairs) :]
    margins = {pair.id: float(gap) for pair, gap in zip(pairs, gaps, strict=True)}
    agreement = (quality, _agreement(pairs, quality)) if quality else None
    return Separability(len(pairs), len(set(prompts)), results, permuted, agreement, margins)


def require_pairs(pairs: Sequence[Pair]) -> None:
    """Raises DataError for examples without a rejected candidate."""
    single = next((pair for pair in pairs if pair.rejected is None), None)
    if single is not None or not pairs:
        where = f": {single.source or single.id} has one" if single else ", and there are none"
        raise DataError(f"separability compares chosen with rejected candidates{where}. Give pairs.")


def surface_features(pairs: Sequence[Pair]) -> dict[str, Features]:
    """Computes features without a model.

    For texts: lengths; the first 20 words; and both with marks, lists and refusals. For images: sizes and codecs; and
    both with colours and sharpness.

    Raises:
        DataError: Some candidates are texts and others are files.
    """
    sides = [pair.chosen for pair in pairs], [pair.rejected for pair in pairs]
    are_texts = {is_text(candidate) for side in sides for candidate in side if candidate is not None}
    if are_texts == {True}:
        texts = [[text_features.answer_text(text) for text in side] for side in sides]  # type: ignore[arg-type]
        length, opening, surface = (
            [f(side) for side in texts] for f in (text_features.length, text_features.opening, text_features.surface)
        )
        return {
            "length": _two_sides(length),
            "first 20 tokens": _two_sides(opening),
            "surface": _two_sides([np.hstack(parts) for parts in zip(surface, opening, strict=True)]),
        }
    if are_texts == {False}:
        codec, statistics = ([f(side) for side in sides] for f in (image_features.codec, image_features.statistics))  # type: ignore[arg-type]
        both = [np.hstack(parts) for parts in zip(codec, statistics, strict=True)]
        return {"size and codec": _two_sides(codec), "image statistics": _two_sides(both)}
    raise DataError("some candidates are texts and others are files. Give candidates of one medium.")


def _two_sides(sides: Sequence[Array]) -> Features:
    chosen, rejected = sides
    return chosen, rejected


def _rows(sides: Features, within: bool) -> Array:
    """Returns ``(2N, D)``: the chosen candidates, then the rejected ones."""
    chosen, rejected = (np.asarray(side, dtype=np.float64) for side in sides)
    mean = (chosen + rejected) / 2 if within else 0.0
    return np.concatenate([chosen - mean, rejected - mean])


def _evaluate_probe(
    rows: Array, flipped: Array, *, groups: Sequence[str], folds: int, penalty: float
) -> tuple[ProbeResult, Array]:
    """Returns the result of a probe, and its held-out scores ``(2N,)``. ``flipped`` marks pairs with swapped labels."""
    labels = np.concatenate([~flipped, flipped])
    scores = held_out_scores(rows, labels, [*groups, *groups], folds=folds, penalty=penalty)
    count = len(flipped)
    gaps = np.where(flipped, -1.0, 1.0) * (scores[:count] - scores[count:])
    paired = float(np.mean((gaps > 0) + 0.5 * (gaps == 0)))
    return ProbeResult(accuracy(scores, labels), auc(scores, labels), paired), scores


def _agreement(pairs: Sequence[Pair], name: str) -> float:
    gaps = []
    for pair in pairs:
        sides = [pair.scores.get(role, {}).get(name) for role in ("chosen", "rejected")]
        if None in sides:
            names = sorted(set(pair.scores.get("chosen", {})) & set(pair.scores.get("rejected", {})))
            raise DataError(
                f"{pair.source or pair.id} has no score '{name}' of both candidates; it has: "
                f"{', '.join(names) or 'none'}. Give --scores FILE, or columns {name}_chosen and {name}_rejected."
            )
        gaps.append(sides[0] - sides[1])  # type: ignore[operator]
    return sum((gap > 0) + 0.5 * (gap == 0) for gap in gaps) / len(gaps)
