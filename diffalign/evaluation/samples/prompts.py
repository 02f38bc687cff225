"""Reads prompts from a command line or a recipe: the prompt itself, or ``@FILE`` for the lines of a file."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from diffalign.errors import UserError
from diffalign.files.json_lines import refuse_half_pairs, text_lines
from diffalign.printable import shown

TABLES = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet", ".arrow", ".gz")
"""Endings of files whose lines are rows or bytes."""


def read_prompts(given: Sequence[str]) -> list[str]:
    """Returns prompts, with each ``@FILE`` replaced by the lines of the file; empty lines are left out.

    Raises:
        UserError: A missing file, no prompt at all, or a prompt with half a surrogate pair, which has no UTF-8.
        DataError: The file cannot be read or is not UTF-8.
    """
    prompts: list[str] = []
    for text in given:
        if not text.startswith("@"):
            try:
                refuse_half_pairs(text)
            except ValueError as error:
                raise UserError(f"the prompt {shown(text)} cannot be used: {error}.") from error
            prompts.append(text)
            continue
        path = Path(text[1:])
        if not os.path.isfile(path):
            raise UserError(
                f"the prompt '{text}' names a file that does not exist. Give @FILE with one prompt a line, "
                "or the prompt itself."
            )
        if path.suffix.lower() in TABLES:
            raise UserError(
                f"the prompt '{text}' names a table, whose lines are no prompts. Give @FILE with one prompt a "
                "line, as text."
            )
        prompts += text_lines(path)
    if not prompts:
        raise UserError(f"there is no prompt in {shown(list(given))}. Give a prompt, or @FILE with one prompt a line.")
    return prompts
