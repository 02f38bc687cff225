"""Checks a data set for every problem that can be found before training.

Each problem has a function in :mod:`~diffalign.data.check.checks` or its neighbours; ``check_pairs`` runs them all.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from statistics import median

from diffalign.data.check.candidate_facts import FactTable, Progress, collect_facts
from diffalign.data.check.checks import (
    check_labels,
    check_prompts,
    check_readable,
    check_scores,
    check_shortcuts,
    check_sizes,
    normalise,
)
from diffalign.data.check.clip_checks import check_clips, clip_facts_of
from diffalign.data.check.duplicates import check_duplicates, check_overlap
from diffalign.data.check.report import CheckFinding, CheckReport, Severity
from diffalign.data.check.text_checks import check_texts, text_facts
from diffalign.data.media.decode import MAX_PIXELS
from diffalign.data.records.label_agreement import score_gap
from diffalign.data.records.pair import (
    BAD_LABEL,
    BAD_ROW,
    BAD_TURNS,
    DISPUTED,
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
    TIE: "Ties have no preference. No action is needed unless there are more than you expected.",
    IDENTICAL: "Remove these rows: a candidate cannot be better than itself.",
    EMPTY_PROMPT: "Give these rows a prompt, or remove them.",
    MISSING_FILE: "Put the files at the paths in the table, which are relative to its own folder.",
    OUTSIDE: "Copy the files into the folder, or type --option root=FOLDER, one that you trust.",
    NO_LABEL: "No action is needed: these rows have no vote.",
    BAD_LABEL: "Correct the label column.",
    BAD_ROW: "Correct or remove these lines.",
    BAD_TURNS: "Correct these conversations: an answer begins and ends with the assistant's turn.",
    EMPTY_CANDIDATE: "Remove these rows: an empty answer cannot be trained on.",
    DISPUTED: "No action is needed: agree_with excludes them.",
    FILTERED: "No action is needed: your options exclude these rows.",
}
_EXPECTED = (TIE, NO_LABEL, DISPUTED, FILTERED)


def check_pairs(
    pairs: PairSet,
    against: PairSet | None = None,
    *,
    resolution: int | None = None,
    decode: bool = True,
    max_pixels: int = MAX_PIXELS,
    progress: Progress | None = None,
) -> CheckReport:
    """Checks every pair and every distinct candidate, and returns a report.

    Args:
        pairs: The training set.
        against: The evaluation set, to find pairs that both sets share.
        resolution: The training resolution in pixels; smaller images are reported.
        decode: Decode images and clips in full, which alone finds truncated files. Otherwise only headers are read.
        max_pixels: Images larger than this cannot be used.
        progress: ``progress(what, done, total)``.
    """
    facts = collect_facts(pairs.pairs, decode=decode, max_pixels=max_pixels, progress=progress)
    findings = [
        *report_dropped(pairs.dropped),
        *check_readable(pairs.pairs, facts),
        *check_duplicates(pairs.pairs, facts),
        *check_sizes(pairs.pairs, facts, resolution),
        *check_prompts(pairs.pairs, facts),
        *check_labels(pairs.pairs),
        *check_scores(pairs.pairs),
        *check_shortcuts(pairs.pairs, facts),
        *check_clips(pairs.pairs, facts),
        *(check_texts(pairs.pairs) if facts.counts.get("text") else ()),
    ]
    if against is not None:
        eval_facts = collect_facts(against.pairs, decode=False, max_pixels=max_pixels, progress=progress)
        findings += check_overlap(pairs.pairs, against.pairs, facts, eval_facts)
    return CheckReport(_overview(pairs, facts), findings)


def report_dropped(rows: Iterable[Dropped]) -> Iterator[CheckFinding]:
    """Reports the rows that are left out of training, by reason."""
    groups: dict[str, list[Dropped]] = defaultdict(list)
    for row in rows:
        groups[row.reason].append(row)
    for reason, group in groups.items():
        severity: Severity = "note" if reason in _EXPECTED else "warning"
        examples = tuple(f"{row.source}: {row.detail}" if row.detail else row.source for row in group[:5])
        yield CheckFinding(
            severity, f"rows left out: {reason}", len(group), examples, _ADVICE.get(reason, "Remove these rows.")
        )


def _overview(dataset: PairSet, facts: FactTable) -> dict[str, str]:
    pairs = dataset.pairs
    soft_count = sum(pair.probability != 1.0 for pair in pairs)
    single_count = sum(pair.rejected is None for pair in pairs)
    media = ", ".join(f"{n:,} {medium}" for medium, n in facts.counts.items())
    lines = {
        "data": f"{dataset.source} ({dataset.format})",
        pairs_noun(pairs): f"{len(pairs):,}, {_count_prompts(pairs):,} distinct prompts",
        "left out": ", ".join(f"{n:,} {reason}" for reason, n in dataset.reasons().items()) or "none",
        "candidates": f"{len(facts):,} distinct: {media}",
    }
    if dataset.unread:
        lines["not read"] = ", ".join(dataset.unread)
    if not single_count:
        lines["labels"] = f"{len(pairs) - soft_count:,} plain votes, {soft_count:,} with a probability"
    first_won = [pair.scores["pair"]["first_won"] for pair in pairs if "first_won" in pair.scores.get("pair", {})]
    if first_won:
        lines["first slot won"] = f"{sum(first_won) / len(first_won):.1%}"
    sides = sorted((min(f.size), max(f.size)) for f in facts.files.values() if f.size)
    if sides:
        short, long = [s for s, _ in sides], [s for _, s in sides]
        lines["short side"] = f"min {min(short)}, median {median(short):g}, max {max(short)} pixels"
        lines["long side"] = f"min {min(long)}, median {median(long):g}, max {max(long)} pixels"
    lines |= clip_facts_of(pairs, facts)
    if facts.counts.get("text"):
        lines |= text_facts(pairs)
    for scorer in sorted({name for pair in pairs for name in pair.scores.get("chosen", {})}):
        gaps = [gap for pair in pairs if (gap := score_gap(pair, scorer)) is not None]
        if gaps:
            lines[f"stored {scorer}"] = (
                f"agrees with {sum(gap > 0 for gap in gaps) / len(gaps):.1%} of {len(gaps):,} labels"
            )
    return lines


def _count_prompts(pairs: Iterable[Pair]) -> int:
    prompts = HashSet()
    for pair in pairs:
        prompts.add(normalise(pair.prompt))
    return len(prompts)
