"""Flips: labels turned round, some at random to see what noise does, or those that somebody found to be wrong."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from typing import TypeVar

from diffalign.data.readers.parse_row import digest
from diffalign.data.readers.rows_with_columns import PairRow, rank_roles
from diffalign.data.records.pair import Answer, Pair
from diffalign.data.transforms.result import TransformResult
from diffalign.errors import DataError, UserError, near_miss

SIGNED = ("margin", "strength_mean", "gap")
"""Numbers of a pair that say how far the chosen candidate is ahead: they change their sign."""

_OTHER = {"chosen": "rejected", "rejected": "chosen"}
_OTHER |= {f"augmented_{role}": f"augmented_{other}" for role, other in _OTHER.items()}
_Value = TypeVar("_Value")


def flip(pair: Pair) -> Pair:
    """The pair with the other candidate chosen; of a single example the other judgement.

    Candidates change places with their prompts and scores, a ranked list is reversed, and numbers in :data:`SIGNED`
    change their sign. The probability stays: what is turned round is the label, not the opinion of it.

    Facts: ``flip(flip(pair)) == pair``. Training on the flipped pair is training on the pair with probability 0.
    """
    if pair.rejected is None:
        return replace(pair, desirable=not pair.desirable)
    prompt = pair.prompt if pair.rejected_prompt is None else pair.rejected_prompt
    ranks = rank_roles(pair)
    other = {**_OTHER, **dict(zip(ranks, reversed(ranks), strict=True))}
    scores = _renamed(pair.scores, other)
    if both := pair.scores.get("pair"):
        scores["pair"] = {name: _turned(name, value) for name, value in both.items()}
    further = {role: Answer(a.candidate, _unless(prompt, pair.prompt_of(role))) for role, a in pair.further.items()}
    return replace(
        pair,
        prompt=prompt,
        chosen=pair.rejected,
        rejected=pair.chosen,
        rejected_prompt=_unless(prompt, pair.prompt),
        scores=scores,
        further=_renamed(further, other),
    )


def flip_row(line: PairRow, wrong: bool) -> PairRow:
    """The line, turned round where ``wrong``; ``flipped`` among its pair's numbers says which it is, 1 or 0. A row that
    was turned round before and is again counts as it was."""
    before = line.pair.scores.get("pair", {}).get("flipped", 0.0)
    pair = flip(line.pair) if wrong else line.pair
    now = 1.0 - before if wrong else before
    return PairRow(
        replace(pair, scores={**pair.scores, "pair": {**pair.scores.get("pair", {}), "flipped": now}}), line.columns
    )


def flip_share(lines: Sequence[PairRow], *, share: float, seed: int = 0) -> TransformResult:
    """Turns a share of the labels round, drawn by the rows' ids: noise of a known size.

    Args:
        lines: The rows.
        share: How many, in [0, 1]; of ``n`` rows the nearest whole number to ``share * n``.
        seed: Another seed, other rows. The same seed turns the same rows round, whatever their order.

    Raises:
        UserError: A share outside [0, 1].
    """
    if not 0.0 <= share <= 1.0:
        raise UserError(f"share is how many labels are turned round, in [0, 1]; got {share}. A tenth is 0.1.")
    count = int(share * len(lines) + 0.5)
    names = sorted((digest(str(seed), line.pair.id), line.pair.id) for line in lines)
    wrong = {name for _, name in names[:count]}
    return _outcome(lines, lambda line: line.pair.id in wrong, f"drawn with seed {seed}", len(wrong))


def flip_named(lines: Sequence[PairRow], ids: Collection[str]) -> TransformResult:
    """Turns the named rows round.

    Raises:
        DataError: An id that no row has.
    """
    wanted, known = set(ids), {line.pair.id for line in lines}
    if missing := sorted(wanted - known):
        raise DataError(
            f"{len(missing):,} of {len(wanted):,} ids are no rows, the first is '{missing[0]}'."
            f"{near_miss(missing[0], list(known)[:10_000])} They are those of the column id."
        )
    return _outcome(lines, lambda line: line.pair.id in wanted, "named", len(wanted))


def flip_disputed(lines: Sequence[PairRow], strength: Callable[[Pair], float]) -> TransformResult:
    """Turns those rows round whose other candidate scores higher: ``strength(pair) < 0``."""
    wrong = {line.pair.id for line in lines if strength(line.pair) < 0.0}
    return _outcome(lines, lambda line: line.pair.id in wrong, "which the scores contradict", len(wrong))


def _outcome(lines: Sequence[PairRow], wrong: Callable[[PairRow], bool], which: str, count: int) -> TransformResult:
    note = f"{count:,} of {len(lines):,} labels turned round, {which}; the column flipped says which"
    return TransformResult((flip_row(line, wrong(line)) for line in lines), notes=[note])


def _turned(name: str, value: float) -> float:
    if name == "first_won":
        return 1.0 - value
    return 0.0 - value if name in SIGNED else value  # never a negative zero


def _renamed(values: Mapping[str, _Value], other: Mapping[str, str]) -> dict[str, _Value]:
    return {other.get(name, name): value for name, value in values.items()}


def _unless(prompt: object, own: _Value) -> _Value | None:
    return None if own == prompt else own
