"""Detects a format by its columns, and names the nearest one where none fits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from diffalign.data.readers.registry import READERS, Reader
from diffalign.data.readers.rows.parse_row import require_columns
from diffalign.data.readers.sources import open_tables
from diffalign.data.readers.suggest_format import kind_of, nearest_format
from diffalign.data.readers.tables import Table, suffix_of
from diffalign.errors import DataError, near_miss

JSON_LINES = (".jsonl", ".ndjson", ".jsonl.gz", ".ndjson.gz")


def detect_format(tables: Sequence[Table] | str | Path) -> str:
    """Returns the name of the format whose columns the first table has.

    Raises:
        DataError: No format fits; the message names the nearest one and its missing columns.
    """
    if isinstance(tables, (str, Path)):
        tables = open_tables(tables)
    table = tables[0]
    _refuse_empty(table)
    needed = {name: reader.needed(table.columns) for name, reader in READERS.items()}
    present = {name: sum(column in table.columns for column in columns) for name, columns in needed.items()}
    for name, reader in READERS.items():
        if present[name] == len(reader.required):
            _refuse_ambiguous(table, reader)
            _refuse_misspelt(table, reader)
            return name
    reader, renames = nearest_format(table)
    raise _missing_columns_error(table, reader, renames)


def _refuse_empty(table: Table) -> None:
    """Raises DataError for a table without columns: one without rows, or whose first rows are all unreadable."""
    if table.columns:
        return
    first = next(iter(table.rows()), None)
    if first is None:
        raise DataError(f"'{table.path}' is empty: it holds no rows.")
    advice = " With one list of all rows, name it .json." if suffix_of(table.path) in JSON_LINES else ""
    raise DataError(
        f"'{table.path}' has no readable row at its beginning: {first.source}: {first.problem or 'an empty object'}. "
        f'Expected an object in each row: {{"prompt": ...}}.{advice}'
    )


def _missing_columns_error(table: Table, reader: Reader, renames: Mapping[str, str]) -> DataError:
    """Returns an error with the columns that the table lacks for a format, those that would do, and the formats of what
    the table holds.
    """
    missing = ", ".join(f"'{name}'" for name in renames)
    mapping = ", ".join(f"{name}: {column}" for name, column in renames.items())
    kind = kind_of(table)
    formats = [f"{other.name}: {', '.join(other.required)}" for other in READERS.values() if kind in other.holds]
    return DataError(
        f"'{table.path}' fits no format by its columns: {', '.join(table.columns)}. The nearest, {reader.name} "
        f"({reader.summary}), lacks the column{'s' * (len(renames) > 1)} {missing}. If others hold them, give "
        f'--option "columns={{{mapping}}}", or in a recipe data.options: {{columns: {{{mapping}}}}}. '
        f"Formats by their columns: {'; '.join(formats)}."
    )


def _refuse_ambiguous(table: Table, reader: Reader) -> None:
    for column in reader.unless:
        if column in table.columns:
            raise DataError(
                f"'{table.path}' has the columns of the {reader.name} format ({reader.summary}) and also '{column}', "
                f"which {reader.doubt.format(column=column)}."
            )


def _refuse_misspelt(table: Table, reader: Reader) -> None:
    """Raises DataError where a larger format fits except for one column with a similar name: a probable misspelling."""
    for larger in READERS.values():
        missing = set(larger.required) - set(table.columns)
        if set(larger.required) > set(reader.required) and len(missing) == 1:
            spare = [name for name in table.columns if name not in larger.required and not name.endswith("id")]
            name = missing.pop()
            if guess := next((column for column in spare if near_miss(name, [column])), None):
                raise _missing_columns_error(table, larger, {name: guess})


def check_format(table: Table, reader: Reader) -> None:
    """Raises DataError where a table lacks columns of a format. The message names the format that fits, if any."""
    _refuse_empty(table)
    try:
        require_columns(table.columns, reader.needed(table.columns), where=str(table.path), format=reader.name)
    except DataError as error:
        fits = [r.name for r in READERS.values() if set(r.needed(table.columns)) <= set(table.columns)]
        if not fits:
            raise
        raise DataError(
            f"{error} Its columns are those of the {fits[0]} format ({READERS[fits[0]].summary}): give that, or auto."
        ) from None
