"""Checks for duplicates: repeated pairs, contradicting votes, and pairs that training and evaluation share."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

from diffalign.data.check.candidate_facts import FactTable, candidates_of
from diffalign.data.check.checks import EXAMPLES, Tally, normalise
from diffalign.data.check.report import CheckFinding
from diffalign.data.media.decode import media_digest
from diffalign.data.records.pair import Pair
from diffalign.data.storage.hash_set import HashSet, fingerprint

SHARED_TEXT_LENGTH = 80
"""A text of this many characters in both sets is no coincidence; shorter answers recur by chance."""


def check_duplicates(pairs: Sequence[Pair], facts: FactTable) -> Iterator[CheckFinding]:
    """Finds pairs of identical candidates, repeated pairs, and pairs with votes for either candidate."""
    equal, comparisons, repeated_keys = Tally(), HashSet(), set[int]()
    for pair in pairs:
        digests = [facts[media].digest for media in candidates_of(pair)]
        if all(digests) and len(set(digests)) < len(digests):
            equal.add(pair.source or pair.id)
        elif all(digests) and not comparisons.add(key := _comparison_key(pair, digests)):
            repeated_keys.add(fingerprint(key))
    if equal.count:
        fix = "Remove these rows: their margin is zero for every model."
        yield CheckFinding(
            "error", "pairs whose two candidates have the same content", equal.count, equal.examples, fix
        )
    groups = list(_group_by_comparison(pairs, facts, repeated_keys).values()) if repeated_keys else []
    contradicting = Tally(
        " against ".join(source for _, source in group[:3]) for group in groups if len({won for won, _ in group}) > 1
    )
    if contradicting.count:
        fix = (
            "Merge the votes into one row whose label_prob is the share of votes for chosen; train with labels=column."
        )
        yield CheckFinding(
            "warning", "pairs with contradicting votes", contradicting.count, contradicting.examples, fix
        )
    agreeing = [group for group in groups if len({won for won, _ in group}) == 1]
    if agreeing:
        extra = sum(len(group) - 1 for group in agreeing)
        examples = Tally(" and ".join(source for _, source in group[:3]) for group in agreeing).examples
        yield CheckFinding(
            "warning", "pairs that repeat another", extra, examples, "Remove repeats, unless each is a separate vote."
        )


def check_overlap(
    pairs: Sequence[Pair], eval_pairs: Sequence[Pair], facts: FactTable, eval_facts: FactTable
) -> Iterator[CheckFinding]:
    """Finds prompts and candidates that are in both the training and the evaluation set."""
    eval_prompts = {fingerprint(normalise(pair.prompt)): pair.source or pair.id for pair in eval_pairs}
    eval_candidates = {
        fact.digest: pair.source or pair.id
        for pair in eval_pairs
        for media in candidates_of(pair)
        if (fact := eval_facts[media]).digest and (fact.medium != "text" or fact.length >= SHARED_TEXT_LENGTH)
    }
    shared_prompts, shared_candidates = dict[int, str](), dict[str, str]()
    for pair in pairs:
        key = fingerprint(normalise(pair.prompt))
        if key in eval_prompts:
            shared_prompts.setdefault(key, f"{pair.source} and {eval_prompts[key]}: {str(pair.prompt)[:60]!r}")
        for media in candidates_of(pair):
            digest = facts[media].digest
            if digest in eval_candidates:
                shared_candidates.setdefault(digest, f"{pair.source} and {eval_candidates[digest]}")
    for noun, shared, fix in (
        ("prompts", shared_prompts, "Remove these prompts from one of the two: evaluating on them measures memory."),
        ("candidates", shared_candidates, "Remove them from one of the two."),
    ):
        if shared:
            examples = tuple(shared.values())[:EXAMPLES]
            what = f"{noun} in both the training and the evaluation set"
            yield CheckFinding("error", what, len(shared), examples, fix)


def _comparison_key(pair: Pair, digests: Sequence[str]) -> str:
    """Returns the content of a comparison, prompt, candidates and weights of frames, independent of which one won."""
    return " ".join([media_digest(pair.prompt), *sorted(digests), *map(str, pair.frame_weights)])


def _group_by_comparison(pairs: Sequence[Pair], facts: FactTable, keys: set[int]) -> dict[int, list[tuple[str, str]]]:
    """Returns ``{comparison: [(winner, source of the row), ...]}`` for the comparisons in ``keys``."""
    groups: dict[int, list[tuple[str, str]]] = defaultdict(list)
    for pair in pairs:
        digests = [facts[media].digest for media in candidates_of(pair)]
        key = fingerprint(_comparison_key(pair, digests))
        if key in keys:
            groups[key].append((f"{digests[0]} {pair.desirable}", pair.source or pair.id))
    return groups
