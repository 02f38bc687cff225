"""Findings: one function per aspect of a data set that is known to spoil training. Each yields what it found.

Each goes through the pairs and keeps counts and a few examples, never the pairs: there may be a million.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from diffalign.data.check.candidate_facts import FactTable, candidates_of
from diffalign.data.check.report import CheckFinding
from diffalign.data.records.conversation import Text
from diffalign.data.records.pair import Pair

PROMPT_TOKENS = 75
"""CLIP text encoders read 77 tokens, two of which mark start and end; the rest of a prompt is cut off."""

EXAMPLES = 5
WORD = re.compile(r"\w+|[^\w\s]+")


class Tally:
    """How many, and the first few of them by source."""

    def __init__(self, examples: Iterable[str] = ()) -> None:
        self.count, self.examples = 0, tuple[str, ...]()
        for example in examples:
            self.add(example)

    def add(self, example: str) -> None:
        """Counts one."""
        self.count += 1
        if len(self.examples) < EXAMPLES:
            self.examples += (example,)


def tally(pairs: Iterable[Pair]) -> Tally:
    """Pairs, by their sources."""
    return Tally(pair.source or pair.id for pair in pairs)


def unreadable(pairs: Sequence[Pair], facts: FactTable) -> Iterator[CheckFinding]:
    """Pairs with a candidate that cannot be decoded."""
    if not any(fact.problem for fact in facts.kept.values()):
        return
    found = ((pair, facts[media].problem) for pair in pairs for media in candidates_of(pair))
    bad = Tally(f"{pair.source}: {problem}" for pair, problem in found if problem)
    fix = "Replace the files or remove the rows."
    yield CheckFinding("error", "candidates that cannot be read", bad.count, bad.examples, fix)


def sizes(pairs: Sequence[Pair], facts: FactTable, resolution: int | None) -> Iterator[CheckFinding]:
    """Images that must be enlarged for training, and pairs that are framed unlike each other."""
    if not facts.kept:
        return
    small = tally(p for p in pairs if resolution and any(min(s) < resolution for s in _pair_sizes(p, facts)))
    if small.count:
        fix = f"Train at a lower resolution, or leave these out: enlarging to {resolution} teaches blur."
        what = f"pairs with an image smaller than {resolution} pixels"
        yield CheckFinding("warning", what, small.count, small.examples, fix)
    unlike = tally(
        p
        for p in pairs
        if len(s := _pair_sizes(p, facts)) == 2 and abs(s[0][0] * s[1][1] / (s[0][1] * s[1][0]) - 1) > 0.05
    )
    if unlike.count:
        fix = "A centre crop cuts them differently; make both candidates of a prompt in one shape."
        yield CheckFinding("note", "pairs of images with different shapes", unlike.count, unlike.examples, fix)


def prompts(pairs: Sequence[Pair], facts: FactTable) -> Iterator[CheckFinding]:
    """Prompts that a text encoder cuts off. Words and marks are counted, of which each is at least one token."""
    if not facts.kept:
        return
    long = tally(p for p in pairs if p.chosen in facts.kept and len(WORD.findall(str(p.prompt))) > PROMPT_TOKENS)
    if long.count:
        fix = "CLIP text encoders ignore what comes after; put what matters first."
        yield CheckFinding("note", f"prompts of more than {PROMPT_TOKENS} tokens", long.count, long.examples, fix)


def labels(pairs: Sequence[Pair]) -> Iterator[CheckFinding]:
    """Labels that say nothing, contradict their own column, or follow the position on the screen."""
    even = tally(pair for pair in pairs if pair.probability == 0.5)
    if even.count:
        fix = "They only pull both candidates together."
        yield CheckFinding("note", "pairs with probability 0.5", even.count, even.examples, fix)
    against = tally(pair for pair in pairs if pair.probability < 0.5)
    if against.count:
        fix = "Swap chosen and rejected there and use 1 - label_prob, or check what the column means."
        yield CheckFinding(
            "warning", "pairs whose label_prob favours the rejected one", against.count, against.examples, fix
        )
    slots = [pair.scores["pair"]["first_won"] for pair in pairs if "first_won" in pair.scores.get("pair", {})]
    if len(slots) >= 20 and not _fair(sum(slots), len(slots)):
        share = sum(slots) / len(slots)
        what = f"the first image won {share:.0%} of the votes: votes follow the position, or the label column is wrong"
        yield CheckFinding("warning", what, len(slots), (), "Check label_0: it must say whether image 0 was preferred.")


def giveaways(pairs: Sequence[Pair], facts: FactTable) -> Iterator[CheckFinding]:
    """What tells chosen from rejected without being quality: size, file format, length. A model learns it first."""
    total, formats, areas, lengths = 0, Counter[tuple[str, str]](), Counter[bool](), Counter[bool]()
    for pair in pairs:
        if pair.rejected is None:
            continue
        a, b = facts[pair.chosen], facts[pair.rejected]
        total += 1
        if a.format and b.format and a.format != b.format:
            formats[a.format, b.format] += 1
        if a.size and b.size and (area := a.size[0] * a.size[1]) != (other := b.size[0] * b.size[1]):
            areas[area > other] += 1
        if a.kind == b.kind == "text" and a.length != b.length:
            lengths[a.length > b.length] += 1
    if total < 20:
        return
    if formats.total() >= 0.9 * total and len(formats) == 1:
        (one, other_one) = next(iter(formats))
        what = f"nearly all chosen files are {one} and all rejected ones {other_one}"
        fix = "Store both in one format: compression artefacts give the label away."
        yield CheckFinding("warning", what, formats.total(), (), fix)
    for name, differ in (("the larger image", areas), ("the longer text", lengths)):
        count = differ.total()
        if count >= 20 and abs(differ[True] / count - 0.5) > 0.2:
            what = f"the chosen candidate is {name} in {differ[True] / count:.0%} of the pairs where they differ"
            yield CheckFinding("warning", what, count, (), "Balance it, or expect the model to learn that first.")


def _pair_sizes(pair: Pair, facts: FactTable) -> list[tuple[int, int]]:
    return [size for media in candidates_of(pair) if (size := facts[media].size)]


def _fair(won: float, total: int) -> bool:
    """Whether a share could be a fair coin's: within four standard errors, or within five points of a half."""
    off = abs(won / total - 0.5)
    return off < 4 * 0.5 / total**0.5 or off < 0.05


def plain(text: Text) -> str:
    """A text without what makes no difference: case and spacing."""
    return " ".join(str(text).casefold().split())
