"""Checks of a data set: one function per property that is known to spoil training. Each yields its findings.

A check iterates over the pairs and keeps counts and a few examples, never the pairs: there may be a million.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from diffalign.data.check.candidate_facts import FactTable, candidates_of
from diffalign.data.check.report import CheckFinding, Severity
from diffalign.data.records.conversation import Text
from diffalign.data.records.label_agreement import OWN_SCORES, find_disagreement
from diffalign.data.records.pair import Pair

PROMPT_TOKENS = 75
"""Tokens of a prompt that CLIP text encoders read: 77, of which two mark start and end. The rest is truncated."""

EXAMPLES = 5
WORD = re.compile(r"\w+|[^\w\s]+")


class Tally:
    """A count, and the sources of the first few cases."""

    def __init__(self, examples: Iterable[str] = ()) -> None:
        self.count, self.examples = 0, tuple[str, ...]()
        for example in examples:
            self.add(example)

    def add(self, example: str) -> None:
        """Counts one case."""
        self.count += 1
        if len(self.examples) < EXAMPLES:
            self.examples += (example,)


def tally_pairs(pairs: Iterable[Pair]) -> Tally:
    """Counts pairs, with their sources as examples."""
    return Tally(pair.source or pair.id for pair in pairs)


def check_readable(pairs: Sequence[Pair], facts: FactTable) -> Iterator[CheckFinding]:
    """Finds candidates that cannot be decoded."""
    if not any(fact.problem for fact in facts.files.values()):
        return
    problems = ((pair, facts[media].problem) for pair in pairs for media in candidates_of(pair))
    bad = Tally(f"{pair.source}: {problem}" for pair, problem in problems if problem)
    fix = "Replace the files or remove the rows."
    yield CheckFinding("error", "candidates that cannot be read", bad.count, bad.examples, fix)


def check_sizes(pairs: Sequence[Pair], facts: FactTable, resolution: int | None) -> Iterator[CheckFinding]:
    """Finds images and clips that must be enlarged for training, and pairs of two shapes."""
    if not facts.files:
        return
    small = tally_pairs(p for p in pairs if resolution and any(min(s) < resolution for s in _pair_sizes(p, facts)))
    if small.count:
        fix = f"Train at a lower resolution, or leave these out: enlarging to {resolution} teaches blur."
        what = f"pairs with {'an image' if facts.noun == 'image' else 'a clip'} smaller than {resolution} pixels"
        yield CheckFinding("warning", what, small.count, small.examples, fix)
    different = tally_pairs(
        p
        for p in pairs
        if len(s := _pair_sizes(p, facts)) == 2 and abs(s[0][0] * s[1][1] / (s[0][1] * s[1][0]) - 1) > 0.05
    )
    if different.count:
        fix = "A centre crop cuts them differently. Make both candidates of a prompt in one shape."
        yield CheckFinding(
            "note", f"pairs of {facts.noun}s with different shapes", different.count, different.examples, fix
        )


def check_prompts(pairs: Sequence[Pair], facts: FactTable) -> Iterator[CheckFinding]:
    """Finds prompts that a text encoder truncates. Counts words and marks, each of which is at least one token."""
    if not facts.files:
        return
    long = tally_pairs(p for p in pairs if p.chosen in facts.files and len(WORD.findall(str(p.prompt))) > PROMPT_TOKENS)
    if long.count:
        fix = "CLIP text encoders ignore the rest of a prompt. Put the important words first."
        yield CheckFinding("note", f"prompts of more than {PROMPT_TOKENS} tokens", long.count, long.examples, fix)


def check_labels(pairs: Sequence[Pair]) -> Iterator[CheckFinding]:
    """Finds labels without a preference, labels that favour the rejected one, and votes that follow the position."""
    even = tally_pairs(pair for pair in pairs if pair.probability == 0.5)
    if even.count:
        fix = "Such a pair has no preference: training on it only brings the two candidates closer."
        yield CheckFinding("note", "pairs with probability 0.5", even.count, even.examples, fix)
    against = tally_pairs(pair for pair in pairs if pair.probability < 0.5)
    if against.count:
        fix = "Swap chosen and rejected there and use 1 - label_prob, or check the meaning of the column."
        yield CheckFinding(
            "warning", "pairs whose label_prob favours the rejected one", against.count, against.examples, fix
        )
    first_won = [pair.scores["pair"]["first_won"] for pair in pairs if "first_won" in pair.scores.get("pair", {})]
    if len(first_won) >= 20 and not _is_fair(sum(first_won), len(first_won)):
        share = sum(first_won) / len(first_won)
        what = f"the first image won {share:.0%} of the votes: votes follow the position, or the label column is wrong"
        fix = "Check label_0: it must state whether image 0 was preferred."
        yield CheckFinding("warning", what, len(first_won), (), fix)


def check_scores(pairs: Iterable[Pair]) -> Iterator[CheckFinding]:
    """Finds labels that the stored scores of their pair do not support."""
    for name, found in find_disagreement(pairs).items():
        severity: Severity = "warning" if name in OWN_SCORES else "note"
        for what, sources in (("are equal", found.equal), ("favour the rejected one", found.against)):
            if sources:
                fix = f"To leave such pairs out, type --option agree_with={name}."
                examples = tuple(sources[:EXAMPLES])
                yield CheckFinding(severity, f"pairs whose scores '{name}' {what}", len(sources), examples, fix)


def check_shortcuts(pairs: Sequence[Pair], facts: FactTable) -> Iterator[CheckFinding]:
    """Finds properties other than quality that separate chosen from rejected: size, file format, length.

    A model learns such a shortcut first.
    """
    total, formats, areas, lengths = 0, Counter[tuple[str, str]](), Counter[bool](), Counter[bool]()
    for pair in pairs:
        if pair.rejected is None:
            continue
        chosen, rejected = facts[pair.chosen], facts[pair.rejected]
        total += 1
        if chosen.format and rejected.format and chosen.format != rejected.format:
            formats[chosen.format, rejected.format] += 1
        if chosen.size and rejected.size:
            chosen_area, rejected_area = chosen.size[0] * chosen.size[1], rejected.size[0] * rejected.size[1]
            if chosen_area != rejected_area:
                areas[chosen_area > rejected_area] += 1
        if chosen.medium == rejected.medium == "text" and chosen.length != rejected.length:
            lengths[chosen.length > rejected.length] += 1
    if total < 20:
        return
    if formats.total() >= 0.9 * total and len(formats) == 1:
        (chosen_format, rejected_format) = next(iter(formats))
        what = f"nearly all chosen files are {chosen_format} and all rejected ones {rejected_format}"
        fix = "Store both in one format: compression artefacts reveal the label."
        yield CheckFinding("warning", what, formats.total(), (), fix)
    for name, chosen_is_larger in ((f"the larger {facts.noun}", areas), ("the longer text", lengths)):
        count = chosen_is_larger.total()
        if count >= 20 and abs((share := chosen_is_larger[True] / count) - 0.5) > 0.2:
            what = f"the chosen candidate is {name} in {share:.0%} of the pairs where they differ"
            yield CheckFinding("warning", what, count, (), "Balance it, or expect the model to learn that first.")


def _pair_sizes(pair: Pair, facts: FactTable) -> list[tuple[int, int]]:
    return [size for media in candidates_of(pair) if (size := facts[media].size)]


def _is_fair(won: float, total: int) -> bool:
    """Returns whether a fair coin explains the share: within four standard errors, or within five points of a half."""
    deviation = abs(won / total - 0.5)
    return deviation < 4 * 0.5 / total**0.5 or deviation < 0.05


def normalise(text: Text) -> str:
    """Returns a text without differences in case and spacing."""
    return " ".join(str(text).casefold().split())
