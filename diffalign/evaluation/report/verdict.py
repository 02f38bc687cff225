"""The verdict: a headline and sentences that the numbers of a comparison support.

Only held-out scorers decide. "Better" requires that the whole 95 % interval of the win rate lies above one half, and
that the sign test over prompts agrees (p < 0.05), because the bootstrap is overconfident with few prompts.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from diffalign.evaluation.compare.preview_curve import PreviewCurve
from diffalign.evaluation.compare.result import Comparison, Judgement
from diffalign.evaluation.compare.stillness import stillness_cautions
from diffalign.evaluation.samples.medium import Medium, find_medium
from diffalign.evaluation.stats.rates.share import Share, percent
from diffalign.evaluation.stats.significance.holm import holm

MIN_DIVERSITY_LOSS = 0.15
"""Smallest relative loss of diversity that the verdict mentions."""
MIN_LENGTH_CHANGE = 0.1
"""Smallest relative change of the mean length that the verdict mentions."""


@dataclass(frozen=True)
class Verdict:
    """A conclusion with its reasons.

    Args:
        headline: One short sentence.
        tone: ``"good"``, ``"bad"``, or ``"open"`` if the numbers are inconclusive.
        sentences: The reasons, and cautions.
    """

    headline: str
    tone: Literal["good", "bad", "open"]
    sentences: tuple[str, ...]


def verdict_of(comparison: Comparison | None, preview_curve: PreviewCurve | None = None) -> Verdict:
    """Returns the verdict of a comparison, with a warning if a run's previews show over-optimisation.

    Args:
        comparison: ``None`` for a run that was not compared.
        preview_curve: Scores of the run's previews.
    """
    if comparison is None:
        return Verdict(
            "Not compared with its base yet.",
            "open",
            ("The curves show whether training worked, not whether samples became better. To show that, compare "
             "samples of base and aligned model from the same seeds, by a judge that training did not learn from.",),
        )  # fmt: skip
    headline, tone = _headline(comparison.held_out())
    medium = find_medium(comparison.medium)
    sentences = [_sentence(judgement, medium) for judgement in comparison.judgements]
    over_optimisation = preview_curve.summary() if preview_curve is not None else []
    return Verdict(headline, tone, (*sentences, *over_optimisation, *_cautions(comparison, medium)))


def direction(judgement: Judgement) -> Literal["better", "worse", "unclear"]:
    """Returns whether the win rate lies significantly above one half, below it, or neither."""
    if judgement.win.p_value >= 0.05:
        return "unclear"
    if judgement.win.low > 0.5:
        return "better"
    return "worse" if judgement.win.high < 0.5 else "unclear"


def _headline(held_out: tuple[Judgement, ...]) -> tuple[str, Literal["good", "bad", "open"]]:
    if not held_out:
        return "No held-out judge was used.", "open"
    better, worse, unclear = (
        [j.name for j in held_out if direction(j) == name] for name in ("better", "worse", "unclear")
    )
    rest = f"; no clear difference on {_list(unclear)}" if unclear else ""
    if better and worse:
        return f"Mixed: better on {_list(better)}, worse on {_list(worse)}.", "open"
    if better:
        return f"Better than its base on {_list(better)}{rest}.", "good"
    if worse:
        return f"Worse than its base on {_list(worse)}{rest}.", "bad"
    return f"No clear difference from its base on {_list(unclear)}.", "open"


def _list(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _sentence(judgement: Judgement, medium: Medium) -> str:
    win = judgement.win
    role = "held out" if judgement.role == "held-out" else "trained on"
    text = (
        f"{judgement.name} ({role}) prefers the aligned {medium.noun} in {percent(win.rate)} of {win.comparisons} "
        f"comparisons over {win.prompts} prompts (95 % interval {percent(win.low)} to {percent(win.high)})."
    )
    base_hits, aligned_hits = judgement.base_hits, judgement.aligned_hits
    if base_hits is not None and aligned_hits is not None:
        text += f" It recognises the prompted class in {percent(base_hits.rate)} of base {medium.plural}"
        text += f" and {percent(aligned_hits.rate)} of aligned ones."
    if win.excluded:
        text += f" {win.excluded} comparisons were left out because a score was not finite."
    return text


def _cautions(comparison: Comparison, medium: Medium) -> list[str]:
    cautions, held_out = [], comparison.held_out()
    trained_on = [judgement for judgement in comparison.judgements if judgement.role == "trained-on"]
    if not held_out:
        cautions.append(
            f"A trained-on judge can show that training worked, but not that {medium.plural} are better. "
            "Add a held-out judge."
        )
    if any(direction(j) == "better" for j in trained_on) and any(direction(j) == "worse" for j in held_out):
        cautions.append(
            "The trained-on judge gains while a held-out one loses: the usual sign of over-optimisation. An earlier "
            "checkpoint or a larger beta may give a better model."
        )
    if trained_on and not any(direction(j) == "better" for j in trained_on):
        cautions.append("No trained-on judge shows a clear gain, so training may have had little effect.")
    cautions += _several_judges(held_out)
    cautions += stillness_cautions({j.scorer: (j.base_mean, j.aligned_mean) for j in comparison.judgements})
    change = comparison.diversity.change
    if math.isnan(change):
        cautions.append(f"Diversity is unknown with one {medium.noun} per prompt; give two seeds or more.")
    elif change < -MIN_DIVERSITY_LOSS:
        cautions.append(
            f"{medium.plural.capitalize()} of one prompt became more alike: diversity fell by {percent(-change)}."
        )
    cautions += _length_cautions(comparison, medium)
    if comparison.unpaired:
        cautions.append(f"Left out, for want of a counterpart: {medium.count(comparison.unpaired)}.")
    return cautions


def _several_judges(held_out: tuple[Judgement, ...]) -> list[str]:
    """Returns a sentence if differences on held-out judges do not survive the correction for their number."""
    corrected = holm([judgement.win.p_value for judgement in held_out])
    weak = [j.name for j, p in zip(held_out, corrected, strict=True) if direction(j) != "unclear" and p >= 0.05]
    if not weak:
        return []
    return [
        f"{len(held_out)} held-out judges are as many chances of a false finding. Corrected for that (Holm), the "
        f"difference on {_list(weak)} is not significant: compare on more prompts."
    ]


def _length_cautions(comparison: Comparison, medium: Medium) -> list[str]:
    """Returns a sentence if the length changed, and a caution for each judge whose gain may come from length."""
    lengths = comparison.lengths
    if lengths is None or not abs(lengths.change) > MIN_LENGTH_CHANGE:
        return []
    is_longer = lengths.change > 0
    word = "longer" if is_longer else "shorter"
    sentences = [
        f"Aligned {medium.plural} are {percent(abs(lengths.change))} {word}: {lengths.aligned:.0f} {lengths.unit} on "
        f"average, {lengths.base:.0f} before."
    ]
    for judgement in comparison.judgements:
        if judgement.name not in lengths.longer or direction(judgement) != "better":
            continue
        longer = lengths.longer[judgement.name]
        preferred = longer if is_longer else _complement(longer)
        if not preferred.low > 0.5:
            continue
        controlled = lengths.controlled.get(judgement.name)
        sentences.append(
            f"{judgement.name} prefers the {word} of two {medium.plural} in {percent(preferred.rate)} of comparisons "
            f"(95 % interval {percent(preferred.low)} to {percent(preferred.high)}), so its gain may come from length. "
            + (
                "Compare at equal lengths, or use a judge that does not depend on length."
                if controlled is None
                else f"At equal lengths the aligned one would win {percent(controlled.rate)} "
                f"({percent(controlled.low)} to {percent(controlled.high)})."
            )
        )
    return sentences


def _complement(part: Share) -> Share:
    """Returns the share of the other outcome."""
    return Share(1 - part.rate, 1 - part.high, 1 - part.low, part.n - part.hits, part.n)
