"""Findings: one function per aspect of a data set that is known to spoil training. Each yields what it found."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

from diffalign.data.records import Media, Pair
from diffalign.data.report import Finding
from diffalign.data.survey import Facts, candidates_of

PROMPT_TOKENS = 75
"""CLIP text encoders read 77 tokens, two of which mark start and end; the rest of a prompt is cut off."""

_WORD = re.compile(r"\w+|[^\w\s]+")


def unreadable(pairs: Sequence[Pair], facts: Mapping[Media, Facts]) -> Iterator[Finding]:
    """Pairs with a candidate that cannot be decoded."""
    bad = [(pair, facts[media].problem) for pair in pairs for media in candidates_of(pair) if facts[media].problem]
    if bad:
        examples = tuple(f"{pair.source}: {problem}" for pair, problem in bad[:5])
        yield Finding(
            "error", "candidates that cannot be read", len(bad), examples, "Replace the files or remove the rows."
        )


def repeated(pairs: Sequence[Pair], facts: Mapping[Media, Facts]) -> Iterator[Finding]:
    """Pairs of identical contents, pairs that occur twice, and pairs that were judged both ways."""
    votes: dict[tuple[str, frozenset[str]], list[tuple[str, Pair]]] = defaultdict(list)
    equal: list[Pair] = []
    for pair in pairs:
        digests = [facts[media].digest for media in candidates_of(pair)]
        if not all(digests):
            continue
        if len(set(digests)) < len(digests):
            equal.append(pair)
        else:
            votes[pair.prompt, frozenset(digests)].append((digests[0], pair))
    if equal:
        fix = "Remove these rows: their margin is zero whatever the model does."
        yield Finding("error", "pairs whose two candidates have the same content", len(equal), _sources(equal), fix)
    groups = [group for group in votes.values() if len(group) > 1]
    torn = [group for group in groups if len({chosen for chosen, _ in group}) > 1]
    if torn:
        examples = tuple(" against ".join(pair.source for _, pair in group[:3]) for group in torn[:5])
        fix = (
            "Merge the votes into one row whose label_prob is the share of votes for chosen; train with labels=column."
        )
        yield Finding("warning", "pairs with contradicting votes", len(torn), examples, fix)
    same = [group for group in groups if len({chosen for chosen, _ in group}) == 1]
    if same:
        extra = sum(len(group) - 1 for group in same)
        examples = tuple(" and ".join(pair.source for _, pair in group[:3]) for group in same[:5])
        yield Finding(
            "warning", "pairs that repeat another", extra, examples, "Remove repeats, unless each is a vote of its own."
        )


def sizes(pairs: Sequence[Pair], facts: Mapping[Media, Facts], resolution: int | None) -> Iterator[Finding]:
    """Pictures that must be enlarged for training, and pairs that are framed unlike each other."""
    small = [p for p in pairs if resolution and any(min(s) < resolution for s in _pair_sizes(p, facts))]
    if small:
        fix = f"Train at a lower resolution, or leave these out: enlarging to {resolution} teaches blur."
        yield Finding(
            "warning", f"pairs with a picture smaller than {resolution} pixels", len(small), _sources(small), fix
        )
    unlike = [
        p
        for p in pairs
        if len(s := _pair_sizes(p, facts)) == 2 and abs(s[0][0] * s[1][1] / (s[0][1] * s[1][0]) - 1) > 0.05
    ]
    if unlike:
        fix = "A centre crop cuts them differently; make both candidates of a prompt in one shape."
        yield Finding("note", "pairs of pictures with different shapes", len(unlike), _sources(unlike), fix)


def prompts(pairs: Sequence[Pair], facts: Mapping[Media, Facts]) -> Iterator[Finding]:
    """Prompts that a text encoder cuts off. Words and marks are counted, of which each is at least one token."""
    long = [p for p in pairs if facts[p.chosen].kind != "text" and len(_WORD.findall(p.prompt)) > PROMPT_TOKENS]
    if long:
        fix = "CLIP text encoders ignore what comes after; put what matters first."
        yield Finding("note", f"prompts of more than {PROMPT_TOKENS} tokens", len(long), _sources(long), fix)


def labels(pairs: Sequence[Pair]) -> Iterator[Finding]:
    """Labels that say nothing, contradict their own column, or follow the position on the screen."""
    even = [pair for pair in pairs if pair.probability == 0.5]
    if even:
        yield Finding(
            "note", "pairs with probability 0.5", len(even), _sources(even), "They only pull both candidates together."
        )
    against = [pair for pair in pairs if pair.probability < 0.5]
    if against:
        fix = "Swap chosen and rejected there and use 1 - label_prob, or check what the column means."
        yield Finding(
            "warning", "pairs whose label_prob favours the rejected one", len(against), _sources(against), fix
        )
    slots = [pair.scores["pair"]["first_won"] for pair in pairs if "first_won" in pair.scores.get("pair", {})]
    if len(slots) >= 20 and not _fair(sum(slots), len(slots)):
        share = sum(slots) / len(slots)
        what = (
            f"the first picture won {share:.0%} of the votes: votes follow the position, or the label column is wrong"
        )
        yield Finding("warning", what, len(slots), (), "Check label_0: it must say whether picture 0 was preferred.")


def giveaways(pairs: Sequence[Pair], facts: Mapping[Media, Facts]) -> Iterator[Finding]:
    """What tells chosen from rejected without being quality: size, file format, length. A model learns it first."""
    looks = [(facts[pair.chosen], facts[pair.rejected]) for pair in pairs if pair.rejected is not None]
    if len(looks) < 20:
        return
    formats = [(a.format, b.format) for a, b in looks if a.format and b.format and a.format != b.format]
    if len(formats) >= 0.9 * len(looks) and len(set(formats)) == 1:
        what = f"nearly all chosen files are {formats[0][0]} and all rejected ones {formats[0][1]}"
        yield Finding(
            "warning", what, len(formats), (), "Store both in one format: compression artefacts give the label away."
        )
    areas = [(a.size[0] * a.size[1], b.size[0] * b.size[1]) for a, b in looks if a.size and b.size]
    lengths = [(a.length, b.length) for a, b in looks if a.kind == b.kind == "text"]
    for name, values in (("the larger picture", areas), ("the longer text", lengths)):
        differ = [a > b for a, b in values if a != b]
        if len(differ) >= 20 and abs(sum(differ) / len(differ) - 0.5) > 0.2:
            what = f"the chosen candidate is {name} in {sum(differ) / len(differ):.0%} of the pairs where they differ"
            yield Finding("warning", what, len(differ), (), "Balance it, or expect the model to learn that first.")


def shared(
    pairs: Sequence[Pair], others: Sequence[Pair], facts: Mapping[Media, Facts], other_facts: Mapping[Media, Facts]
) -> Iterator[Finding]:
    """Prompts and candidates that both the training and the evaluation set hold."""
    known = {plain(pair.prompt): pair for pair in pairs}
    seen = {facts[media].digest: pair for pair in pairs for media in candidates_of(pair)}
    seen.pop("", None)
    both = {plain(pair.prompt): pair for pair in others if plain(pair.prompt) in known}
    if both:
        examples = tuple(
            f"{known[text].source} and {pair.source}: {pair.prompt[:60]!r}" for text, pair in both.items()
        )[:5]
        fix = "Take these prompts out of one of the two: an evaluation on them measures memory."
        yield Finding("error", "prompts in both the training and the evaluation set", len(both), examples, fix)
    found = {d: p for p in others for m in candidates_of(p) if (d := other_facts[m].digest) in seen}
    if found:
        examples = tuple(f"{seen[digest].source} and {pair.source}" for digest, pair in found.items())[:5]
        fix = "Take them out of one of the two."
        yield Finding("error", "candidates in both the training and the evaluation set", len(found), examples, fix)


def _pair_sizes(pair: Pair, facts: Mapping[Media, Facts]) -> list[tuple[int, int]]:
    return [size for media in candidates_of(pair) if (size := facts[media].size)]


def _fair(won: float, total: int) -> bool:
    """Whether a share could be a fair coin's: within four standard errors, or within five points of a half."""
    off = abs(won / total - 0.5)
    return off < 4 * 0.5 / total**0.5 or off < 0.05


def plain(prompt: str) -> str:
    """A prompt without what makes no difference: case and spacing."""
    return " ".join(prompt.casefold().split())


def _sources(pairs: Sequence[Pair]) -> tuple[str, ...]:
    return tuple(pair.source or pair.id for pair in pairs[:5])
