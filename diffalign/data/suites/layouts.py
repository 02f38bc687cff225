"""Layouts of suites: tables with a row per prompt, lists of texts, and lines of text, one file per category."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from diffalign.data.readers.tables import SUFFIXES, Table, TableRow, suffix_of
from diffalign.data.suites.suite import SuitePrompt
from diffalign.errors import DataError, UserError
from diffalign.files.json_lines import parse_json, text_lines
from diffalign.files.text_files import is_file, read_text_file

Read = Callable[[Path], Iterator[SuitePrompt]]


def table_of(*, prompt: Sequence[str], categories: Sequence[str] = ()) -> Read:
    """Returns the reader of a table with one prompt per row.

    Args:
        prompt: Names of the prompt's column; the first one present is read. A list there, the turns of a conversation,
            gives its first turn.
        categories: Columns of categories, in any case; a cell may be a list of values.
    """

    def read(path: Path) -> Iterator[SuitePrompt]:
        table = open_table(path)
        column = next((name for name in prompt if name in table.columns), None)
        if column is None:
            raise DataError(
                f"'{path}' has no column '{prompt[0]}' of prompts. Columns: {', '.join(table.columns) or 'none'}. "
                "Give the file as it is published."
            )
        for row in table.rows():
            yield _prompt_of(row, path, column, categories)

    return read


def open_table(path: Path) -> Table:
    """Returns the table of a file. Raises UserError if there is none, or its name has another ending than a table's."""
    if not is_file(path):
        raise UserError(f"there is no file '{path}'. Give the suite's file as @suite:NAME:FILE.")
    if suffix_of(path) not in SUFFIXES:
        raise UserError(
            f"'{path}' is no table. Give the suite's file as it is published, one of {', '.join(SUFFIXES)}."
        )
    return Table(path)


def _prompt_of(row: TableRow, path: Path, column: str, categories: Sequence[str]) -> SuitePrompt:
    if row.problem:
        raise DataError(f"{path}, row {row.source}: {row.problem}. Copy the file again as it is published.")
    cell = row.values.get(column)
    text = cell[0] if isinstance(cell, list) and cell else cell
    if not isinstance(text, str) or not text.strip():
        raise DataError(
            f"{path}, row {row.source}: '{column}' holds no prompt, got {str(cell)[:80]!r}. Correct the row."
        )
    by_name = {str(name).lower(): value for name, value in row.values.items()}
    found = {name: _values(by_name.get(name)) for name in categories}
    return SuitePrompt(text.strip(), {name: values for name, values in found.items() if values}, row.values)


def _values(cell: Any) -> tuple[str, ...]:
    cells = cell if isinstance(cell, list) else [cell]
    return tuple(text for value in cells if value is not None and (text := str(value).strip()))


def text_list(path: Path, categories: dict[str, tuple[str, ...]]) -> Iterator[SuitePrompt]:
    """Yields the prompts of a JSON file that holds a list of texts. Raises DataError for another content."""
    try:
        texts = parse_json(read_text_file(path, "list of prompts", error=DataError))
    except ValueError as error:
        raise DataError(f"'{path}' cannot be read: {error}. Copy it again as it is published.") from error
    if not isinstance(texts, list) or not all(isinstance(text, str) and text.strip() for text in texts):
        raise DataError(f'\'{path}\' must hold a list of prompts, ["...", "..."]. Copy it again as it is published.')
    for text in texts:
        yield SuitePrompt(text.strip(), categories)


def lines_of(path: Path, categories: dict[str, tuple[str, ...]]) -> Iterator[SuitePrompt]:
    """Yields the lines of a text file."""
    for line in text_lines(path):
        yield SuitePrompt(line, categories)
