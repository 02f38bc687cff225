"""`diffalign data check`: a report on a data set before training."""

from __future__ import annotations

from typing import Annotated

import typer

from diffalign.cli.app import data_app
from diffalign.cli.options import Format, FormatOptions, Source, Split, parse_format_options


@data_app.command("check")
def check(
    source: Source,
    split: Split = "train",
    against: Annotated[str, typer.Option(help="Another data set; prompts that both share are reported.")] = "",
    against_split: Annotated[str, typer.Option(help="Split of the other data set.")] = "test",
    format_: Format = "auto",
    option: FormatOptions = [],  # noqa: B006  (typer reads the default and nothing changes it)
    resolution: Annotated[
        int, typer.Option(help="Resolution in pixels below which images are reported; 0 disables it.")
    ] = 0,
    strict: Annotated[bool, typer.Option("--strict", help="Fail on warnings too.")] = False,
) -> None:
    """Report ties, unreadable files, duplicates, sizes, leaks, and the rows that will be dropped with their reasons."""
    from rich.console import Console

    from diffalign.data.check.run import check_pairs
    from diffalign.data.readers import read_pairs

    pairs = read_pairs(source, format=format_, split=split, **parse_format_options(option))
    other_pairs = read_pairs(against, split=against_split) if against else None
    report = check_pairs(pairs, against=other_pairs, resolution=resolution or None)
    Console().print(report)
    raise typer.Exit(report.exit_code(strict=strict))
