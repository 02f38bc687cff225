"""`diffalign data check` and `diffalign score`: look at pairs, and put scores beside pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from diffalign.cli.app import app, data_app


@data_app.command("check")
def check(
    source: Annotated[str, typer.Argument(help="A folder, a file or a Hub id with preference pairs.")],
    split: Annotated[str, typer.Option(help="Which split of the source.")] = "train",
    against: Annotated[str, typer.Option(help="The other set: reports prompts that both share.")] = "",
    against_split: Annotated[str, typer.Option(help="Which split of the other set.")] = "test",
    format_: Annotated[str, typer.Option("--format", help="Name of the format; recognised by itself.")] = "auto",
    resolution: Annotated[int, typer.Option(help="Reports pictures that are smaller than this.")] = 0,
    strict: Annotated[bool, typer.Option("--strict", help="Warnings fail too.")] = False,
) -> None:
    """Report ties, unreadable files, duplicates, sizes, leaks, and what will be dropped and why."""
    from rich.console import Console

    from diffalign.data.check import check as check_pairs
    from diffalign.data.readers import read_pairs

    pairs = read_pairs(source, format=format_, split=split)
    other = read_pairs(against, split=against_split) if against else None
    report = check_pairs(pairs, against=other, resolution=resolution or None)
    Console().print(report)
    raise typer.Exit(report.exit_code(strict=strict))


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
