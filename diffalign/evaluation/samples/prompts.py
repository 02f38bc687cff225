"""Reads prompts from a command line or a recipe.

a fox on a blue background           the prompt itself
@FILE                                the lines of a text file
@suite:NAME:FILE                     a published suite, with its categories (`diffalign.data.suites`)
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from diffalign.data.suites import SUITES, SuitePrompt, merge_categories, read_suite
from diffalign.data.suites.suite import Categories
from diffalign.errors import UserError
from diffalign.files.json_lines import refuse_half_pairs, text_lines
from diffalign.printable import shown

TABLES = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet", ".arrow", ".gz")
"""Endings of files whose lines are rows or bytes."""


SUITE = "@suite:"


def read_prompts(given: Sequence[str]) -> list[str]:
    """Returns prompts, with ``@FILE`` and ``@suite:NAME:FILE`` replaced by those of the file; empty lines are left out.

    Raises:
        UserError: A missing file, an unknown suite, no prompt at all, or a prompt with half a surrogate pair, which has
            no UTF-8.
        DataError: The file cannot be read or is not UTF-8, or a suite's file is not in its layout.
    """
    return [prompt.prompt for prompt in read_prompts_of_suites(given)]


def read_categories(given: Sequence[str]) -> dict[str, Categories]:
    """Returns for each prompt the suites' categories, ``{column: values}``. Raises as :func:`read_prompts`."""
    return merge_categories(read_prompts_of_suites(given))


def read_prompts_of_suites(given: Sequence[str]) -> list[SuitePrompt]:
    """Returns prompts with what their suites say about them, in the order given. Raises as :func:`read_prompts`."""
    prompts: list[SuitePrompt] = []
    for text in given:
        if text.startswith(SUITE):
            name, _, path = text[len(SUITE) :].partition(":")
            prompts += read_suite(name, path)
        elif text.startswith("@"):
            prompts += map(SuitePrompt, _lines(text))
        else:
            try:
                refuse_half_pairs(text)
            except ValueError as error:
                raise UserError(f"the prompt {shown(text)} cannot be used: {error}.") from error
            prompts.append(SuitePrompt(text))
    if not prompts:
        raise UserError(f"there is no prompt in {shown(list(given))}. Give a prompt, or @FILE with one prompt a line.")
    return prompts


def _lines(text: str) -> list[str]:
    path = Path(text[1:])
    if not os.path.isfile(path):
        raise UserError(
            f"the prompt '{text}' names a file that does not exist. Give @FILE with one prompt a line, "
            "or the prompt itself."
        )
    if path.suffix.lower() in TABLES:
        raise UserError(
            f"the prompt '{text}' names a table, whose lines are no prompts. Give @FILE with one prompt a "
            f"line, as text, or a published suite as @suite:NAME:FILE ({', '.join(SUITES)})."
        )
    return text_lines(path)
