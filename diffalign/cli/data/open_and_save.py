"""Opens the source of a command that writes a data set, and writes its result with a summary."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from diffalign.cli.options import parse_format_options
from diffalign.errors import DataError, UserError

if TYPE_CHECKING:
    from diffalign.data.readers.formats.pairs_with_extra_columns import PairRow, RowsWithColumns
    from diffalign.data.records.pair import PairSet
    from diffalign.data.transforms import TransformResult


def open_source(
    source: str,
    output: Path,
    *,
    split: str = "train",
    format: str = "auto",
    option: Sequence[str] = (),
    scores: Sequence[Path] = (),
) -> tuple[PairSet, RowsWithColumns]:
    """Reads the data set with these scores. Returns its pairs, and its rows with the columns that no format reads.

    Raises:
        UserError: The output would replace the source, or would be read as a part of it.
    """
    from diffalign.data.readers import read_pairs
    from diffalign.data.readers.formats.pairs_with_extra_columns import RowsWithColumns, unread_columns
    from diffalign.data.records.score_table import read_scores, with_scores

    refuse_output_in_source(source, output)
    options = parse_format_options(option)
    pair_set = read_pairs(source, format=format, split=split, **options)
    if scores:
        pair_set = with_scores(pair_set, [read_scores(path) for path in scores])
    column_options = {name: options[name] for name in ("revision", "columns") if name in options}
    columns = unread_columns(source, split=split, unread=pair_set.unread, **column_options)
    return pair_set, RowsWithColumns(pair_set.pairs, columns)


def refuse_output_in_source(source: str, output: Path) -> None:
    """Raises UserError if ``output`` is the source, or lies in a folder whose tables are all read as the source."""
    source_path, output_path = Path(source).expanduser(), output.expanduser().absolute()
    if not source_path.exists():
        return
    if source_path.is_file() and source_path.resolve() == output_path.resolve():
        raise UserError(f"--output {output} is the source itself. Give another file.")
    has_metadata = any(source_path.glob("metadata.*")) or any(source_path.glob("*/metadata.*"))
    if source_path.is_dir() and source_path.resolve() in output_path.resolve().parents and not has_metadata:
        raise UserError(
            f"--output {output} lies in the source's folder, whose tables are read together. Give a path outside of "
            f"'{source}'."
        )


def save_result(command: str, pair_set: PairSet, result: TransformResult, path: Path) -> None:
    """Writes the rows of the result and prints the numbers of rows read, written and dropped.

    Raises:
        DataError: There is no row to write; why the first was dropped is named.
    """
    from diffalign.data.transforms.result import count_reasons
    from diffalign.data.writing.jsonl import write_pairs

    count = write_pairs(path, _rows_or_reason(result))
    dropped = [*pair_set.dropped, *result.dropped]
    reasons = f"; dropped {len(dropped):,}: {count_reasons(dropped)}" if dropped else ""
    typer.echo(f"{command}: {len(pair_set) + len(pair_set.dropped):,} rows in, {count:,} out to {path}{reasons}")
    for note in result.notes:
        typer.echo(f"  {note}")


def _rows_or_reason(result: TransformResult) -> Iterator[PairRow]:
    """Yields the rows. Raises DataError where all of them were dropped."""
    from diffalign.data.transforms.result import count_reasons

    written = False
    for row in result.rows:
        written = True
        yield row
    if result.dropped and not written:
        first = result.dropped[0]
        detail = f" ({first.detail})" if first.detail else ""
        raise DataError(
            f"no row is left to write: {count_reasons(result.dropped)}. The first is {first.source}: "
            f"{first.reason}{detail}."
        )
