"""`diffalign data check` and `diffalign score`: look at pairs, and put scores beside pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from diffalign.cli.app import app, data_app


@data_app.command("check")
def check(
    source: Annotated[str, typer.Argument(help="A folder, a file or a Hub id with preference pairs.")],
    against: Annotated[str, typer.Option(help="The other split: reports prompts that both share.")] = "",
    format_: Annotated[
        str, typer.Option("--format", help="Name of the format; recognised by itself when left out.")
    ] = "auto",
    resolution: Annotated[int, typer.Option(help="Reports pictures that are smaller than this.")] = 0,
) -> None:
    """Report ties, unreadable files, duplicates, sizes, leaks, and what will be dropped and why."""
    from diffalign.data.check import check as check_pairs
    from diffalign.data.readers import read_pairs

    other = read_pairs(against) if against else None
    report = check_pairs(read_pairs(source, format=format_), against=other, resolution=resolution or None)
    typer.echo(report.render())
    if report.has_errors:
        raise typer.Exit(1)


@app.command()
def score(
    folder: Annotated[
        Path, typer.Argument(help="A folder of pictures with metadata.jsonl, as `diffalign generate` writes it.")
    ],
    scorer: Annotated[
        list[str],
        typer.Option("--scorer", help="NAME or NAME:ARGUMENT, e.g. clip:openai/clip-vit-large-patch14. Repeatable."),
    ],
) -> None:
    """Score pictures against their prompts; the scores are written into metadata.jsonl, and summed up."""
    from diffalign.evaluation.score import score_folder

    for line in score_folder(folder, scorer):
        typer.echo(line)
