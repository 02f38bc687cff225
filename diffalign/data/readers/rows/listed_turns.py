"""Exchanges whose prompts and answers stand in lists, one entry for each turn, as in LMSYS's competition.

prompt '["Sky?", "Sea?"]'    response_a '["Blue.", "Blue."]'    response_b '["Green.", "Deep."]'
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from diffalign.data.readers.rows.parse_row import Drop
from diffalign.data.readers.rows.text_cells import USER
from diffalign.data.readers.rows.turns import parse_json
from diffalign.data.records.conversation import ASSISTANT
from diffalign.data.records.pair import EMPTY_CANDIDATE


def read_exchanges(prompts: Any, sides: Sequence[Any]) -> list[list[dict[str, str]]] | None:
    """Returns the whole conversation of each side, the prompts between its answers; None where the cells are not all
    lists of one length, also written as JSON. Drops a row whose answers lack a turn.

    Args:
        prompts: The cell of the prompts.
        sides: The cells of the answers, one for each side.
    """
    questions, *answers = (_listed(cell) for cell in (prompts, *sides))
    if not questions or None in questions or any(texts is None or len(texts) != len(questions) for texts in answers):
        return None
    if any(text is None for texts in answers for text in texts or ()):
        raise Drop(EMPTY_CANDIDATE, "a turn without an answer")
    return [
        [
            {"role": role, "content": str(text)}
            for exchange in zip(questions, texts or (), strict=True)
            for role, text in zip((USER, ASSISTANT), exchange, strict=True)
        ]
        for texts in answers
    ]


def _listed(cell: Any) -> list[str | None] | None:
    """Returns a list of texts, some of which may be missing, also of one written as JSON; None for anything else."""
    value = parse_json(cell) if isinstance(cell, str) and cell.lstrip().startswith("[") else cell
    is_list = isinstance(value, list) and bool(value) and all(text is None or isinstance(text, str) for text in value)
    return value if is_list else None
