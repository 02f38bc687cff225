"""The study of a set: several probes that may see more or less, each judged on prompts that it was not fitted on."""

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
"""From here on a set is suspicious: good answers are rarely so easy to tell by anything but a shortcut."""

ABOVE_QUALITY = 0.1
"""So much more often than a judge of quality agrees with the labels, a probe must not be right."""

FEW = 100
"""Pairs below which the numbers are rough."""


@dataclass(frozen=True)
class ProbeResult:
    """How well one probe tells chosen from rejected, on held-out prompts.

    Args:
        accuracy: Share of candidates on their own side.
        auc: How often some chosen candidate scores above some rejected one.
        paired: How often a pair's chosen candidate scores above its rejected one.
    """

    accuracy: float
    auc: float
    paired: float


@dataclass(frozen=True)
class Separability:
    """What a study found.

    Args:
        pairs, prompts: How many were looked at.
        probes: By what each may see; the last one sees most.
        permuted: The last one with the labels of half of the pairs, by lot, turned round: chance, about 0.5.
        quality: Agreement of a stored score with the labels, and its name; None without.
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
        """Why the set is suspicious, a sentence each; none where it is not."""
        found = [
            f"by {name} alone a linear rule reaches an AUC of {told.auc:.3f}, {HIGH_AUC} or more"
            for name, told in self.probes.items()
            if told.auc >= HIGH_AUC
        ]
        name, told = list(self.probes.items())[-1]
        if self.quality is not None and told.paired > self.quality[1] + ABOVE_QUALITY:
            found.append(
                f"by {name} a linear rule is right about {told.paired:.1%} of the pairs, while the score "
                f"'{self.quality[0]}' agrees with {self.quality[1]:.1%}"
            )
        return found

    @property
    def suspicious(self) -> bool:
        """Whether there is a shortcut from the form of an answer to its label."""
        return bool(self.reasons)

    def render(self) -> str:
        """The report as plain text."""
        width = max(map(len, [*self.probes, "labels turned by lot"]))
        rows = {**self.probes, "labels turned by lot": self.permuted}
        lines = [f"{'what the probe sees':<{width}}  accuracy    AUC  paired"]
        lines += [f"{name:<{width}}  {t.accuracy:8.3f}  {t.auc:5.3f}  {t.paired:6.3f}" for name, t in rows.items()]
        if self.quality is not None:
            lines.append(f"the score '{self.quality[0]}' agrees with {self.quality[1]:.1%} of the labels")
        lines.append(f"{self.pairs:,} pairs of {self.prompts:,} prompts, judged on prompts held out")
        if self.pairs < FEW:
            lines.append(f"fewer than {FEW} pairs: take the numbers as rough")
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
    """Fits and judges a probe for each set of features.

    Args:
        pairs: Comparisons of two.
        features: By what they are; the last are those of the main probe. See :func:`surface_features`.
        folds: Of the cross-validation, by prompt.
        penalty: L2, see :func:`~diffalign.data.separability.probe.fit`.
        within: Take each pair's mean from its two rows, so that only what differs within pairs is left.
        quality: A stored score of both candidates to compare with.
        seed: Of the lot that turns labels round.

    Raises:
        DataError: single examples; fewer than two prompts; a score that a pair lacks.
    """
    require_pairs(pairs)
    prompts = [str(pair.prompt) for pair in pairs]
    if len(set(prompts)) < 2:
        raise DataError("all pairs have one prompt, and a probe is judged on prompts that it was not fitted on.")
    lot = np.random.default_rng(seed).random(len(pairs)) < 0.5
    judged = partial(_judged, groups=prompts, folds=folds, penalty=penalty)
    found, scores = {}, np.zeros(0)
    for name, sides in features.items():
        rows = _rows(sides, within)
        found[name], scores = judged(rows, np.zeros(len(pairs), dtype=bool))
    permuted, _ = judged(rows, lot)
    gaps = scores[: len(pairs)] - scores[len(pairs) :]
    margins = {pair.id: float(gap) for pair, gap in zip(pairs, gaps, strict=True)}
    agreed = (quality, _agreement(pairs, quality)) if quality else None
    return Separability(len(pairs), len(set(prompts)), found, permuted, agreed, margins)


def require_pairs(pairs: Sequence[Pair]) -> None:
    """Raises DataError for examples without a rejected candidate."""
    single = next((pair for pair in pairs if pair.rejected is None), None)
    if single is not None or not pairs:
        where = f": {single.source or single.id} has one" if single else ", and there are none"
        raise DataError(f"separability compares chosen with rejected candidates{where}. Give pairs.")


def surface_features(pairs: Sequence[Pair]) -> dict[str, Features]:
    """What is seen without a model: of texts lengths, the first 20 words, and both with marks, lists and refusals; of
    images sizes and codecs, and both with colours and sharpness.

    Raises:
        DataError: candidates that are neither.
    """
    sides = [pair.chosen for pair in pairs], [pair.rejected for pair in pairs]
    texts = {is_text(candidate) for side in sides for candidate in side if candidate is not None}
    if texts == {True}:
        told = [[text_features.words_of(text) for text in side] for side in sides]  # type: ignore[arg-type]
        length, opening, rest = (
            [f(side) for side in told] for f in (text_features.length, text_features.opening, text_features.surface)
        )
        return {
            "length": _two(length),
            "first 20 tokens": _two(opening),
            "surface": _two([np.hstack(parts) for parts in zip(rest, opening, strict=True)]),
        }
    if texts == {False}:
        codec, statistics = ([f(side) for side in sides] for f in (image_features.codec, image_features.statistics))  # type: ignore[arg-type]
        whole = [np.hstack(parts) for parts in zip(codec, statistics, strict=True)]
        return {"size and codec": _two(codec), "image statistics": _two(whole)}
    raise DataError("some candidates are texts and others are files: separability compares like with like.")


def _two(sides: Sequence[Array]) -> Features:
    chosen, rejected = sides
    return chosen, rejected


def _rows(sides: Features, within: bool) -> Array:
    """``(2N, D)``: the chosen candidates, then the rejected ones."""
    chosen, rejected = (np.asarray(side, dtype=np.float64) for side in sides)
    mean = (chosen + rejected) / 2 if within else 0.0
    return np.concatenate([chosen - mean, rejected - mean])


def _judged(
    rows: Array, turned: Array, *, groups: Sequence[str], folds: int, penalty: float
) -> tuple[ProbeResult, Array]:
    labels = np.concatenate([~turned, turned])
    scores = held_out_scores(rows, labels, [*groups, *groups], folds=folds, penalty=penalty)
    count = len(turned)
    gaps = np.where(turned, -1.0, 1.0) * (scores[:count] - scores[count:])
    paired = float(np.mean((gaps > 0) + 0.5 * (gaps == 0)))
    return ProbeResult(accuracy(scores, labels), auc(scores, labels), paired), scores


def _agreement(pairs: Sequence[Pair], name: str) -> float:
    gaps = []
    for pair in pairs:
        sides = [pair.scores.get(role, {}).get(name) for role in ("chosen", "rejected")]
        if None in sides:
            known = sorted(set(pair.scores.get("chosen", {})) & set(pair.scores.get("rejected", {})))
            raise DataError(
                f"{pair.source or pair.id} has no score '{name}' of both candidates; it has: "
                f"{', '.join(known) or 'none'}. Give --scores FILE, or columns {name}_chosen and {name}_rejected."
            )
        gaps.append(sides[0] - sides[1])  # type: ignore[operator]
    return sum((gap > 0) + 0.5 * (gap == 0) for gap in gaps) / len(gaps)
