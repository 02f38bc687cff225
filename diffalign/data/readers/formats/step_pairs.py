"""Reads pairs of steps: two candidates for the next step of a solution, after the steps so far.

    prompt                                      the question, text or messages
    prefix, or initial_reason_steps             the steps that both continue; empty for the first step
    chosen_step and rejected_step, or chosen and rejected
    n_w, n_l                                    optional: visits of each step in a tree search
    q_w, q_l                                    optional: the search's values of the steps, kept as scores

A candidate is the prefix followed by its step, as the model would write it; ``model.shared_start: prompt`` scores it
from the first difference between the two. With ``e = min(1 - 1 / (1 + n_l / max(1, n_w)), 1/2)`` the chosen step is the
better one with probability ``1 - e``: Xie et al. 2024 (arXiv 2405.00451), the released code.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from diffalign.data.readers.rows.parse_row import (
    ROLES,
    Drop,
    Ids,
    as_number,
    column_for,
    group_of,
    label_probability,
    only_text,
    read_rows,
    require_columns,
    row_id,
    scores_of,
    validate_pair,
)
from diffalign.data.readers.rows.prompt_parts import add_prompt_parts
from diffalign.data.readers.rows.text_cells import align_forms, check_texts, read_text
from diffalign.data.readers.tables import Table, TableRow
from diffalign.data.records.pair import BAD_LABEL, EMPTY_CANDIDATE, Dropped, Pair

REQUIRED = ("prompt", "prefix", "chosen_step", "rejected_step")
ALIASES = {"prefix": ("initial_reason_steps",), "chosen_step": ("chosen",), "rejected_step": ("rejected",)}
VISITS, VALUES = ("n_w", "n_l"), ("q_w", "q_l")


def read_steps(tables: Sequence[Table]) -> Iterator[Pair | Dropped]:
    """Yields a pair or a dropped row for each row.

    Args:
        tables: Tables in any file format.

    Raises:
        DataError: A column is missing.
    """
    ids = Ids()
    for table in tables:
        names = {name: column_for(name, ALIASES, table.columns) for name in REQUIRED}
        require_columns(table.columns, names.values(), where=str(table.path), format="steps")
        yield from read_rows(table, _read_pair, names, ids)


def step_probability(visits: tuple[float, float]) -> float:
    """Returns the probability that the chosen step is the better one, in [0.5, 1].

    Args:
        visits: How often a search visited the chosen and the rejected step. A chosen step without visits counts as
            visited once.
    """
    won, lost = visits
    return max(1.0 / (1.0 + lost / max(1.0, won)), 0.5)


def _read_pair(row: TableRow, names: Mapping[str, str], ids: Ids) -> Pair:
    values = row.values
    prompt = read_text(values.get(names["prompt"]), "prompt")
    prefix = only_text(values.get(names["prefix"]), names["prefix"])
    steps = [values.get(names[f"{role}_step"]) for role in ROLES]
    for step, role in zip(steps, ROLES, strict=True):
        if not isinstance(step, str) or not step.strip():
            raise Drop(EMPTY_CANDIDATE, f"{role} step")
    whole = [f"{prefix}{step}" for step in steps]
    prompt, answers = add_prompt_parts(*align_forms(prompt, whole), values)
    content_id = check_texts(prompt, answers, ROLES)
    scores = scores_of(values, (*names.values(), *VISITS, *VALUES))
    for role, column in zip(ROLES, VALUES, strict=True):
        if (value := as_number(values.get(column))) is not None:
            scores.setdefault(role, {})["q"] = value
    pair = Pair(
        id=ids.unique(row_id(values, content_id)),
        prompt=prompt,
        chosen=answers[0],
        rejected=answers[1],
        probability=_probability(values),
        scores=scores,
        source=row.source,
        group=group_of(values),
    )
    return validate_pair(pair)


def _probability(values: Mapping[str, Any]) -> float:
    if all(values.get(name) in (None, "") for name in VISITS):
        return label_probability(values)
    counts = [as_number(values.get(name)) for name in VISITS]
    won, lost = counts
    if won is None or lost is None or min(won, lost) < 0:
        raise Drop(BAD_LABEL, f"n_w and n_l count visits, 0 or more; got {[values.get(name) for name in VISITS]}")
    return step_probability((won, lost))
