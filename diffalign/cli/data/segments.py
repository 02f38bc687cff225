"""`diffalign data segments`: pairs of clips with labels of their parts, as one pair for each part."""

from __future__ import annotations

from typing import Annotated

import typer

from diffalign.cli.app import data_app
from diffalign.cli.data.open_and_save import open_source, save_result
from diffalign.cli.options import Format, FormatOptions, OutputFile, Source, Split, parse_format_options


@data_app.command("segments")
def segments(
    source: Source,
    output: OutputFile,
    frames: Annotated[int, typer.Option(help="Frames that the model sees: model.clip.frames of the recipe.")] = 16,
    split: Split = "train",
    format_: Format = "auto",
    option: FormatOptions = [],  # noqa: B006  (typer reads the default and nothing changes it)
) -> None:
    """Write one pair per labelled part of a pair's clips: a column segments holds 1, -1 or 0 for each equal part.

    1: the chosen clip is better there; -1: the rejected one; 0: a tie, which is left out. Only the part's frames count.
    Train with the recipe's labels: {name: column, weight: weight}.
    """
    from diffalign.data.transforms.segment_labels import read_segment_cells, split_segments

    pair_set, rows = open_source(source, output, split=split, format=format_, option=option)
    given = {name: value for name, value in parse_format_options(option).items() if name in ("revision", "columns")}
    cells = read_segment_cells(source, split=split, **given)
    save_result("segments", pair_set, split_segments(rows, cells, frames=frames), output)
    typer.echo("  train with the recipe's  labels: {name: column, weight: weight}")
