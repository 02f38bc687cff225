"""What all commands share that make a data set of a data set: opening, writing, and one summary."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from diffalign.cli.commands_data import FormatOptions, format_options
from diffalign.errors import UserError

if TYPE_CHECKING:
    from diffalign.data.readers.rows_with_columns import RowsWithColumns
    from diffalign.data.records.pair import PairSet
    from diffalign.data.transforms import TransformResult

Source = Annotated[str, typer.Argument(help="A folder, a file or a Hub id with preference pairs.")]
OutputFile = Annotated[Path, typer.Option("--output", help="The file to write, .jsonl.")]
OutputFolder = Annotated[Path, typer.Option("--output", help="The folder to write into.")]
Split = Annotated[str, typer.Option(help="Which split of the source.")]
Format = Annotated[str, typer.Option("--format", help="Name of the format; recognised by itself.")]
ScoreFiles = Annotated[
    list[Path], typer.Option("--scores", help="A file that `diffalign score` wrote for these pairs. Repeatable.")
]
Seed = Annotated[int, typer.Option(help="Of what is drawn.")]

__all__ = [
    "Format",
    "FormatOptions",
    "OutputFile",
    "OutputFolder",
    "ScoreFiles",
    "Seed",
    "Source",
    "Split",
    "opened",
    "saved",
]


def opened(
    source: str,
    output: Path,
    *,
    split: str = "train",
    format: str = "auto",
    option: Sequence[str] = (),
    scores: Sequence[Path] = (),
) -> tuple[PairSet, RowsWithColumns]:
    """The data set, with these scores, and its lines.

    Raises:
        UserError: The output would replace the source, or be read as a part of it.
    """
    from diffalign.data.readers import read_pairs
    from diffalign.data.readers.rows_with_columns import RowsWithColumns, unread_columns
    from diffalign.data.records.score_table import read_scores, with_scores

    refuse_own(source, output)
    options = format_options(list(option))
    found = read_pairs(source, format=format, split=split, **options)
    if scores:
        found = with_scores(found, [read_scores(path) for path in scores])
    named = {name: options[name] for name in ("revision", "columns") if name in options}
    return found, RowsWithColumns(found.pairs, unread_columns(source, split=split, **named))


def refuse_own(source: str, output: Path) -> None:
    """Raises UserError where ``output`` is the source, or lies where the source's tables are looked for."""
    given, place = Path(source).expanduser(), output.expanduser().absolute()
    if not given.exists():
        return
    if given.is_file() and given.resolve() == place.resolve():
        raise UserError(f"--output {output} is the source itself. Give another file.")
    described = any(given.glob("metadata.*")) or any(given.glob("*/metadata.*"))
    if given.is_dir() and given.resolve() in place.resolve().parents and not described:
        raise UserError(
            f"--output {output} lies in the source's folder, whose tables are read together. Give a place outside of "
            f"'{source}'."
        )


def saved(name: str, found: PairSet, outcome: TransformResult, path: Path) -> None:
    """Writes the outcome and says what became of the rows."""
    from diffalign.data.transforms.result import count_reasons
    from diffalign.data.writing.jsonl import write_pairs

    count = write_pairs(path, outcome.lines)
    dropped = [*found.dropped, *outcome.dropped]
    left = f"; dropped {len(dropped):,}: {count_reasons(dropped)}" if dropped else ""
    typer.echo(f"{name}: {len(found) + len(found.dropped):,} rows in, {count:,} out to {path}{left}")
    for note in outcome.notes:
        typer.echo(f"  {note}")
