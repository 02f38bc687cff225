"""The check of a data set: everything that can be known to go wrong before a run has cost anything.

Each aspect is a function of :mod:`~diffalign.data.check.checks`; ``check`` puts them together.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from statistics import median

from diffalign.data.check.candidate_facts import FactTable, Progress, collect_facts
from diffalign.data.check.checks import giveaways, labels, plain, prompts, sizes, unreadable
from diffalign.data.check.duplicates import repeated_pairs, shared_with_evaluation
from diffalign.data.check.report import CheckFinding, CheckReport, Severity
from diffalign.data.check.text_checks import text_lines, texts
from diffalign.data.media.decode import MAX_PIXELS
from diffalign.data.records.pair import (
    BAD_LABEL,
    BAD_ROW,
    BAD_TURNS,
    EMPTY_CANDIDATE,
    EMPTY_PROMPT,
    FILTERED,
    IDENTICAL,
    MISSING_FILE,
    NO_LABEL,
    OUTSIDE,
    TIE,
    Dropped,
    Pair,
    PairSet,
    pairs_noun,
)
from diffalign.data.storage.hash_set import HashSet

_ADVICE = {
    TIE: "Ties carry no preference; nothing to do unless there are more than you expected.",
    IDENTICAL: "Remove these rows: a candidate cannot be better than itself.",
    EMPTY_PROMPT: "Give these rows a prompt, or remove them.",
    MISSING_FILE: "Put the files where the table says, relative to its own folder.",
    OUTSIDE: "Copy the files into the folder, or set root to a folder that you trust.",
    NO_LABEL: "Nothing to do: nobody voted on these rows.",
    BAD_LABEL: "Mend the label column.",
    BAD_ROW: "Mend or remove these lines.",
    BAD_TURNS: "Mend these conversations: an answer begins and ends with the assistant's turn.",
    EMPTY_CANDIDATE: "Remove these rows: there is nothing to learn from an empty answer.",
    FILTERED: "Nothing to do: you asked for it.",
}
_EXPECTED = (TIE, NO_LABEL, FILTERED)


def check_pairs(
    pairs: PairSet,
    against: PairSet | None = None,
    *,
    resolution: int | None = None,
    decode: bool = True,
    max_pixels: int = MAX_PIXELS,
    progress: Progress | None = None,
) -> CheckReport:
    """Looks at every pair and every distinct candidate.

    Args:
        pairs: The training set.
        against: The set that will be used for evaluation, to find what both share.
        resolution: The training resolution in pixels; smaller images are reported.
        decode: Decode images in full, which alone finds truncated files; without it only headers are read.
        max_pixels: Images larger than this cannot be used.
        progress: ``progress(what, done, total)``.
    """
    facts = collect_facts(pairs.pairs, decode=decode, max_pixels=max_pixels, progress=progress)
    findings = [
        *dropped_rows(pairs.dropped),
        *unreadable(pairs.pairs, facts),
        *repeated_pairs(pairs.pairs, facts),
        *sizes(pairs.pairs, facts, resolution),
        *prompts(pairs.pairs, facts),
        *labels(pairs.pairs),
        *giveaways(pairs.pairs, facts),
        *(texts(pairs.pairs) if facts.kinds.get("text") else ()),
    ]
    if against is not None:
        other = collect_facts(against.pairs, decode=False, max_pixels=max_pixels, progress=progress)
        findings += shared_with_evaluation(pairs.pairs, against.pairs, facts, other)
    return CheckReport(_overview(pairs, facts), findings)


def dropped_rows(rows: Iterable[Dropped]) -> Iterator[CheckFinding]:
    """Rows that will not be trained on, by reason."""
    groups: dict[str, list[Dropped]] = defaultdict(list)
    for row in rows:
        groups[row.reason].append(row)
    for reason, group in groups.items():
        severity: Severity = "note" if reason in _EXPECTED else "warning"
        examples = tuple(f"{row.source}: {row.detail}" if row.detail else row.source for row in group[:5])
        yield CheckFinding(
            severity, f"rows left out: {reason}", len(group), examples, _ADVICE.get(reason, "Remove these rows.")
        )


def _overview(found: PairSet, facts: FactTable) -> dict[str, str]:
    pairs = found.pairs
    soft = sum(pair.probability != 1.0 for pair in pairs)
    alone = sum(pair.rejected is None for pair in pairs)
    lines = {
        "data": f"{found.source} ({found.format})",
        pairs_noun(pairs): f"{len(pairs):,}, {_distinct_prompts(pairs):,} distinct prompts",
        "left out": ", ".join(f"{n:,} {reason}" for reason, n in found.reasons().items()) or "none",
        "candidates": f"{len(facts):,} distinct: " + ", ".join(f"{n:,} {kind}" for kind, n in facts.kinds.items()),
    }
    if not alone:
        lines["labels"] = f"{len(pairs) - soft:,} plain votes, {soft:,} with a probability"
    slots = [pair.scores["pair"]["first_won"] for pair in pairs if "first_won" in pair.scores.get("pair", {})]
    if slots:
        lines["first slot won"] = f"{sum(slots) / len(slots):.1%}"
    spans = sorted((min(f.size), max(f.size)) for f in facts.kept.values() if f.size)
    if spans:
        short, long = [s for s, _ in spans], [s for _, s in spans]
        lines["short side"] = f"min {min(short)}, median {median(short):g}, max {max(short)} pixels"
        lines["long side"] = f"min {min(long)}, median {median(long):g}, max {max(long)} pixels"
    if facts.kinds.get("text"):
        lines |= text_lines(pairs)
    for scorer in sorted({name for pair in pairs for name in pair.scores.get("chosen", {})}):
        gaps = [p.scores["chosen"][scorer] - p.scores["rejected"][scorer] for p in pairs if _both_scored(p, scorer)]
        if gaps:
            lines[f"stored {scorer}"] = (
                f"agrees with {sum(gap > 0 for gap in gaps) / len(gaps):.1%} of {len(gaps):,} labels"
            )
    return lines


def _distinct_prompts(pairs: Iterable[Pair]) -> int:
    seen = HashSet()
    for pair in pairs:
        seen.add(plain(pair.prompt))
    return len(seen)


def _both_scored(pair: Pair, scorer: str) -> bool:
    return all(scorer in pair.scores.get(role, {}) for role in ("chosen", "rejected"))
