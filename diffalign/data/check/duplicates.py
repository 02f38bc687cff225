"""Repeats: pairs that occur twice, that were judged both ways, or that training and evaluation share."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

from diffalign.data.check.candidate_facts import FactTable, candidates_of
from diffalign.data.check.checks import EXAMPLES, Tally, plain
from diffalign.data.check.report import CheckFinding
from diffalign.data.media.decode import media_digest
from diffalign.data.records.pair import Pair
from diffalign.data.storage.hash_set import HashSet, fingerprint

QUOTED = 80
"""A text of so many characters in both sets is no coincidence; shorter answers come up again by themselves."""


def repeated_pairs(pairs: Sequence[Pair], facts: FactTable) -> Iterator[CheckFinding]:
    """Pairs of identical contents, pairs that occur twice, and pairs that were judged both ways."""
    equal, seen, again = Tally(), HashSet(), set[int]()
    for pair in pairs:
        digests = [facts[media].digest for media in candidates_of(pair)]
        if all(digests) and len(set(digests)) < len(digests):
            equal.add(pair.source or pair.id)
        elif all(digests) and not seen.add(key := _judged(pair, digests)):
            again.add(fingerprint(key))
    if equal.count:
        fix = "Remove these rows: their margin is zero whatever the model does."
        yield CheckFinding(
            "error", "pairs whose two candidates have the same content", equal.count, equal.examples, fix
        )
    groups = list(_groups(pairs, facts, again).values()) if again else []
    torn = Tally(
        " against ".join(source for _, source in group[:3]) for group in groups if len({won for won, _ in group}) > 1
    )
    if torn.count:
        fix = (
            "Merge the votes into one row whose label_prob is the share of votes for chosen; train with labels=column."
        )
        yield CheckFinding("warning", "pairs with contradicting votes", torn.count, torn.examples, fix)
    same = [group for group in groups if len({won for won, _ in group}) == 1]
    if same:
        extra = sum(len(group) - 1 for group in same)
        examples = Tally(" and ".join(source for _, source in group[:3]) for group in same).examples
        yield CheckFinding(
            "warning", "pairs that repeat another", extra, examples, "Remove repeats, unless each is a vote of its own."
        )


def shared_with_evaluation(
    pairs: Sequence[Pair], others: Sequence[Pair], facts: FactTable, other_facts: FactTable
) -> Iterator[CheckFinding]:
    """Prompts and candidates that both the training and the evaluation set hold."""
    asked = {fingerprint(plain(pair.prompt)): pair.source or pair.id for pair in others}
    answered = {
        fact.digest: pair.source or pair.id
        for pair in others
        for media in candidates_of(pair)
        if (fact := other_facts[media]).digest and (fact.kind != "text" or fact.length >= QUOTED)
    }
    both, found = dict[int, str](), dict[str, str]()
    for pair in pairs:
        key = fingerprint(plain(pair.prompt))
        if key in asked:
            both.setdefault(key, f"{pair.source} and {asked[key]}: {str(pair.prompt)[:60]!r}")
        for media in candidates_of(pair):
            digest = facts[media].digest
            if digest in answered:
                found.setdefault(digest, f"{pair.source} and {answered[digest]}")
    if both:
        fix = "Take these prompts out of one of the two: an evaluation on them measures memory."
        examples = tuple(both.values())[:EXAMPLES]
        yield CheckFinding("error", "prompts in both the training and the evaluation set", len(both), examples, fix)
    if found:
        fix = "Take them out of one of the two."
        examples = tuple(found.values())[:EXAMPLES]
        yield CheckFinding("error", "candidates in both the training and the evaluation set", len(found), examples, fix)


def _judged(pair: Pair, digests: Sequence[str]) -> str:
    """What was judged, whichever won: prompt and candidates, by content."""
    return " ".join([media_digest(pair.prompt), *sorted(digests)])


def _groups(pairs: Sequence[Pair], facts: FactTable, keys: set[int]) -> dict[int, list[tuple[str, str]]]:
    """Who won and where it stands, for each that was judged more than once."""
    groups: dict[int, list[tuple[str, str]]] = defaultdict(list)
    for pair in pairs:
        digests = [facts[media].digest for media in candidates_of(pair)]
        key = fingerprint(_judged(pair, digests))
        if key in keys:
            groups[key].append((f"{digests[0]} {pair.desirable}", pair.source or pair.id))
    return groups
