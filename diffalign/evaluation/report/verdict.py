"""The verdict in words: what the numbers of a comparison allow one to say, and no more.

Only held-out scorers decide. "Better" means that the whole 95 % interval of the win rate lies above one half and that
the sign test over prompts agrees (p < 0.05): with few prompts the bootstrap alone is too sure of itself.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from diffalign.evaluation.compare.preview_curve import PreviewCurve
from diffalign.evaluation.compare.result import Comparison, Judgement
from diffalign.evaluation.samples.medium import Medium, find_medium
from diffalign.evaluation.stats.statistics import Share, percent

NARROWED = 0.15
"""Loss of diversity from which on it is told."""
STRETCHED = 0.1
"""Change of the mean length from which on it is told."""


@dataclass(frozen=True)
class Verdict:
    """What can be said.

    Args:
        headline: One short sentence.
        tone: ``"good"``, ``"bad"``, or ``"open"`` when nothing is shown.
        sentences: The reasons, and what to mind.
    """

    headline: str
    tone: Literal["good", "bad", "open"]
    sentences: tuple[str, ...]


def verdict_of(comparison: Comparison | None, course: PreviewCurve | None = None) -> Verdict:
    """Says what a comparison shows, and where a run's previews show over-optimisation.

    Args:
        comparison: ``None`` stands for a run that was not compared.
        course: What judges said of the previews.
    """
    if comparison is None:
        return Verdict(
            "Not compared with its base yet.",
            "open",
            ("Curves tell whether training worked, not whether samples became better. That takes samples of base and "
             "aligned model from the same seeds, and a judge that training did not learn from.",),
        )  # fmt: skip
    headline, tone = _headline(comparison.held_out())
    medium = find_medium(comparison.medium)
    sentences = [_sentence(judgement, medium) for judgement in comparison.judgements]
    parted = course.summary() if course is not None else []
    return Verdict(headline, tone, (*sentences, *parted, *_cautions(comparison, medium)))


def direction(judgement: Judgement) -> Literal["better", "worse", "unclear"]:
    """Whether the win rate is shown to lie above one half or below it."""
    if judgement.win.p_value >= 0.05:
        return "unclear"
    if judgement.win.low > 0.5:
        return "better"
    return "worse" if judgement.win.high < 0.5 else "unclear"


def _headline(held: tuple[Judgement, ...]) -> tuple[str, Literal["good", "bad", "open"]]:
    if not held:
        return "No held-out judge was asked.", "open"
    by = {way: [j.name for j in held if direction(j) == way] for way in ("better", "worse", "unclear")}
    if by["better"] and by["worse"]:
        return f"Mixed: better on {_list(by['better'])}, worse on {_list(by['worse'])}.", "open"
    if by["better"]:
        rest = f"; no clear difference on {_list(by['unclear'])}" if by["unclear"] else ""
        return f"Better than its base on {_list(by['better'])}{rest}.", "good"
    if by["worse"]:
        rest = f"; no clear difference on {_list(by['unclear'])}" if by["unclear"] else ""
        return f"Worse than its base on {_list(by['worse'])}{rest}.", "bad"
    return f"No clear difference from its base on {_list(by['unclear'])}.", "open"


def _list(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _sentence(judgement: Judgement, medium: Medium) -> str:
    win = judgement.win
    role = "held out" if judgement.role == "held-out" else "trained on"
    text = (
        f"{judgement.name} ({role}) prefers the aligned {medium.noun} in {percent(win.rate)} of {win.comparisons} "
        f"comparisons over {win.prompts} prompts (95 % interval {percent(win.low)} to {percent(win.high)})."
    )
    before, after = judgement.base_hits, judgement.aligned_hits
    if before is not None and after is not None:
        text += f" It sees what the prompt names in {percent(before.rate)} of base {medium.plural}"
        text += f" and {percent(after.rate)} of aligned ones."
    if win.excluded:
        text += f" {win.excluded} comparisons were left out because a score was not finite."
    return text


def _cautions(comparison: Comparison, medium: Medium) -> list[str]:
    found, held = [], comparison.held_out()
    trained = [judgement for judgement in comparison.judgements if judgement.role == "trained-on"]
    if not held:
        found.append(
            f"A judge that training learnt from shows that training worked, not that {medium.plural} are better. "
            "Add a held-out one."
        )
    if any(direction(j) == "better" for j in trained) and any(direction(j) == "worse" for j in held):
        found.append(
            "The trained-on judge gains while a held-out one loses: the usual sign of over-optimisation. An earlier "
            "checkpoint or a larger beta may be the better model."
        )
    if trained and not any(direction(j) == "better" for j in trained):
        found.append("Not even a judge that training learnt from sees a clear gain: training may not have taken hold.")
    change = comparison.diversity.change
    if math.isnan(change):
        found.append(f"Diversity is unknown with one {medium.noun} per prompt; give two seeds or more.")
    elif change < -NARROWED:
        found.append(
            f"{medium.plural.capitalize()} of one prompt became more alike: diversity fell by {percent(-change)}."
        )
    found += _length(comparison, medium)
    if comparison.unpaired:
        found.append(f"{comparison.unpaired} {medium.plural} had no counterpart and were left out.")
    return found


def _length(comparison: Comparison, medium: Medium) -> list[str]:
    """What the length says: nothing where it stayed, and a caution where a judge's gain goes the way of the length."""
    found = comparison.lengths
    if found is None or not abs(found.change) > STRETCHED:
        return []
    longer = found.change > 0
    way = "longer" if longer else "shorter"
    told = [
        f"Aligned {medium.plural} are {percent(abs(found.change))} {way}: {found.aligned:.0f} {found.unit} on average, "
        f"{found.base:.0f} before."
    ]
    for judgement in comparison.judgements:
        taste = found.longer.get(judgement.name)
        if taste is None or direction(judgement) != "better" or not (taste.low > 0.5 if longer else taste.high < 0.5):
            continue
        rate, low, high = (taste.rate, taste.low, taste.high) if longer else _turned(taste)
        equal = found.controlled.get(judgement.name)
        told.append(
            f"{judgement.name} prefers the {way} of two {medium.plural} in {percent(rate)} of comparisons (95 % "
            f"interval {percent(low)} to {percent(high)}), so its gain may be one of length. "
            + (
                "Compare at equal lengths, or ask a judge that does not see them."
                if equal is None
                else f"At equal lengths the aligned one would win {percent(equal.rate)} ({percent(equal.low)} to "
                f"{percent(equal.high)})."
            )
        )
    return told


def _turned(taste: Share) -> tuple[float, float, float]:
    return 1 - taste.rate, 1 - taste.high, 1 - taste.low
