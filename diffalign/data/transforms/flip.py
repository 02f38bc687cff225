"""Flips labels: a random share, to study label noise, or labels that were found to be wrong."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from typing import TypeVar

from diffalign.data.readers.formats.pairs_with_extra_columns import PairRow, rank_roles
from diffalign.data.readers.rows.parse_row import digest
from diffalign.data.records.pair import Answer, Pair
from diffalign.data.transforms.result import TransformResult
from diffalign.errors import DataError, UserError, near_miss

SIGNED = ("margin", "strength_mean", "gap")
"""Numbers of a pair that measure the gap of chosen over rejected: a flip changes their sign."""

_OTHER_ROLE = {"chosen": "rejected", "rejected": "chosen"}
_OTHER_ROLE |= {f"augmented_{role}": f"augmented_{other}" for role, other in _OTHER_ROLE.items()}
_Value = TypeVar("_Value")


def flip(pair: Pair) -> Pair:
    """Swaps chosen and rejected; for a single example, negates ``desirable``.

    The candidates are swapped with their prompts and scores, a ranked list is reversed, and numbers in :data:`SIGNED`
    change their sign. The probability stays: only the label is flipped, not the confidence in it.

    Facts: ``flip(flip(pair)) == pair``. Training on the flipped pair is training on the pair with probability 0.
    """
    if pair.rejected is None:
        return replace(pair, desirable=not pair.desirable)
    prompt = pair.prompt if pair.rejected_prompt is None else pair.rejected_prompt
    ranks = rank_roles(pair)
    other_role = {**_OTHER_ROLE, **dict(zip(ranks, reversed(ranks), strict=True))}
    scores = _rename_roles(pair.scores, other_role)
    if pair_numbers := pair.scores.get("pair"):
        scores["pair"] = {name: _flip_number(name, value) for name, value in pair_numbers.items()}
    further = {
        role: Answer(a.candidate, _none_if_equal(pair.prompt_of(role), prompt)) for role, a in pair.further.items()
    }
    return replace(
        pair,
        prompt=prompt,
        chosen=pair.rejected,
        rejected=pair.chosen,
        rejected_prompt=_none_if_equal(pair.prompt, prompt),
        scores=scores,
        further=_rename_roles(further, other_role),
    )


def flip_row(row: PairRow, wrong: bool) -> PairRow:
    """Flips the row where ``wrong``, and stores ``flipped``, 1 or 0, with the pair. A second flip sets it back to 0."""
    was_flipped = row.pair.scores.get("pair", {}).get("flipped", 0.0)
    pair = flip(row.pair) if wrong else row.pair
    pair_numbers = {**pair.scores.get("pair", {}), "flipped": 1.0 - was_flipped if wrong else was_flipped}
    return PairRow(replace(pair, scores={**pair.scores, "pair": pair_numbers}), row.columns)


def flip_share(rows: Sequence[PairRow], *, share: float, seed: int = 0) -> TransformResult:
    """Flips a share of the labels, drawn by the rows' ids: label noise of a known size.

    Args:
        rows: The rows.
        share: Share of the labels, in [0, 1]; of ``n`` rows the nearest whole number to ``share * n``.
        seed: Seed of the draw. The same seed flips the same rows in any order of the data.

    Raises:
        UserError: A share outside [0, 1].
    """
    if not 0.0 <= share <= 1.0:
        raise UserError(f"share is the share of labels to flip, in [0, 1]; got {share}. A tenth is 0.1.")
    count = int(share * len(rows) + 0.5)
    by_digest = sorted((digest(str(seed), row.pair.id), row.pair.id) for row in rows)
    return _flip_ids(rows, {name for _, name in by_digest[:count]}, f"drawn with seed {seed}")


def flip_named(rows: Sequence[PairRow], ids: Collection[str]) -> TransformResult:
    """Flips the rows with these ids.

    Raises:
        DataError: No row has one of the ids.
    """
    named_ids, all_ids = set(ids), {row.pair.id for row in rows}
    if missing := sorted(named_ids - all_ids):
        raise DataError(
            f"{len(missing):,} of {len(named_ids):,} ids belong to no row, the first is '{missing[0]}'."
            f"{near_miss(missing[0], list(all_ids)[:10_000])} Give ids of the column id."
        )
    return _flip_ids(rows, named_ids, "named")


def flip_disputed(rows: Sequence[PairRow], strength: Callable[[Pair], float]) -> TransformResult:
    """Flips the rows whose rejected candidate scores higher: ``strength(pair) < 0``."""
    disputed = {row.pair.id for row in rows if strength(row.pair) < 0.0}
    return _flip_ids(rows, disputed, "which the scores contradict")


def _flip_ids(rows: Sequence[PairRow], ids: set[str], reason: str) -> TransformResult:
    note = f"{len(ids):,} of {len(rows):,} labels flipped, {reason}; the column flipped marks them"
    return TransformResult((flip_row(row, row.pair.id in ids) for row in rows), notes=[note])


def _flip_number(name: str, value: float) -> float:
    if name == "first_won":
        return 1.0 - value
    return 0.0 - value if name in SIGNED else value  # 0 - value: never a negative zero


def _rename_roles(values: Mapping[str, _Value], new_role: Mapping[str, str]) -> dict[str, _Value]:
    return {new_role.get(role, role): value for role, value in values.items()}


def _none_if_equal(value: _Value, other: object) -> _Value | None:
    return None if value == other else value
