"""Checks of clips: still ones, pairs of different lengths or rates, and whether the labels favour less movement."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from statistics import fmean, median, stdev

from diffalign.data.check.candidate_facts import FactTable, candidates_of
from diffalign.data.check.checks import Tally
from diffalign.data.check.report import CheckFinding
from diffalign.data.media.clips.clip_facts import ClipFacts
from diffalign.data.records.pair import Pair

FEWEST = 8
"""Pairs from which movement of chosen and rejected is compared."""
LESS = 0.9
"""Share of the rejected clips' movement below which the chosen ones move clearly less."""
APART = 0.1
"""Share by which lengths or rates of a pair may differ."""


def check_clips(pairs: Sequence[Pair], facts: FactTable) -> Iterator[CheckFinding]:
    """Finds clips that spoil the training of a video model."""
    if not facts.counts.get("video"):
        return
    still, lengths, rates, mixed = Tally(), Tally(), Tally(), Tally()
    for pair in pairs:
        source = pair.source or pair.id
        clips = _clips(pair, facts)
        if any(clip.is_still for clip in clips):
            still.add(source)
        if len(clips) == 2:
            if _differ(clips[0].seconds, clips[1].seconds):
                lengths.add(f"{source}: {clips[0].seconds:.2f} and {clips[1].seconds:.2f} seconds")
            if _differ(clips[0].fps, clips[1].fps):
                rates.add(f"{source}: {clips[0].fps:.4g} and {clips[1].fps:.4g} frames per second")
        if len({facts[media].medium for media in candidates_of(pair) if not facts[media].problem}) > 1:
            mixed.add(source)
    if mixed.count:
        fix = "Give both candidates as clips: a model would learn to tell the media apart."
        yield CheckFinding("error", "pairs of a clip and something else", mixed.count, mixed.examples, fix)
    if still.count:
        fix = "Leave them out, unless prompts ask for stillness: they teach a model not to move."
        yield CheckFinding("warning", "pairs with a clip in which nothing moves", still.count, still.examples, fix)
    if lengths.count:
        fix = "Both are read by one rule (model.clip), from which the shorter one must not drop out."
        yield CheckFinding("note", "pairs of clips of different lengths", lengths.count, lengths.examples, fix)
    if rates.count:
        fix = "Take model.clip.rule: rate, which shows both at one speed; stride would show one faster."
        yield CheckFinding("note", "pairs of clips of different frame rates", rates.count, rates.examples, fix)
    yield from _check_motion(pairs, facts)


def clip_facts_of(pairs: Sequence[Pair], facts: FactTable) -> dict[str, str]:
    """Returns lengths, rates, sizes and movement of a set's clips as lines of a report; empty without clips."""
    clips = [fact.clip for fact in facts.files.values() if fact.clip]
    if not clips:
        return {}
    seconds, rates, counts = ([getattr(c, name) for c in clips] for name in ("seconds", "fps", "frames"))
    lines = {
        "seconds": f"min {min(seconds):.2f}, median {median(seconds):.2f}, max {max(seconds):.2f}",
        "frames": f"min {min(counts)}, median {median(counts):g}, max {max(counts)}",
        "frame rate": f"min {min(rates):.4g}, median {median(rates):.4g}, max {max(rates):.4g} per second",
    }
    if motions := _motions(pairs, facts):
        chosen, rejected = fmean(c for c, _ in motions), fmean(r for _, r in motions)
        lines["movement"] = (
            f"chosen {chosen:.2f}, rejected {rejected:.2f} (mean difference of neighbouring frames at 8 per second, in "
            "levels of 255)"
        )
    return lines


def _check_motion(pairs: Sequence[Pair], facts: FactTable) -> Iterator[CheckFinding]:
    """Warns where chosen clips move clearly less than rejected ones: raters prefer still clips, and so would the model.

    d_i = chosen_i - rejected_i;   warned if mean d + 2 stdev(d) / sqrt(n) < 0 and mean chosen < 0.9 mean rejected
    """
    motions = _motions(pairs, facts)
    if len(motions) < FEWEST:
        return
    gaps = [chosen - rejected for chosen, rejected in motions]
    chosen, rejected = fmean(c for c, _ in motions), fmean(r for _, r in motions)
    if chosen < LESS * rejected and fmean(gaps) + 2 * stdev(gaps) / len(gaps) ** 0.5 < 0:
        less = sum(gap < 0 for gap in gaps)
        what = f"chosen clips move less than rejected ones in {less:,} of {len(gaps):,} pairs ({chosen:.2f} against "
        fix = "A model learns to stand still first. Balance the movement, or watch flow_dynamic beside flicker."
        yield CheckFinding("warning", f"{what}{rejected:.2f} levels)", less, (), fix)


def _motions(pairs: Sequence[Pair], facts: FactTable) -> list[tuple[float, float]]:
    found = (_clips(pair, facts) for pair in pairs)
    return [(clips[0].motion, clips[1].motion) for clips in found if len(clips) == 2]


def _clips(pair: Pair, facts: FactTable) -> list[ClipFacts]:
    return [clip for media in candidates_of(pair) if (clip := facts[media].clip)]


def _differ(first: float, second: float) -> bool:
    return abs(first - second) > APART * max(first, second)
