"""`diffalign data check` and `diffalign score`: look at pairs, and put scores beside pairs and single samples."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from diffalign.cli.app import app, data_app
from diffalign.errors import UserError

FormatOptions = Annotated[
    list[str], typer.Option("--option", help="NAME=VALUE: an option of the format, as in data.options. Repeatable.")
]


@data_app.command("check")
def check(
    source: Annotated[str, typer.Argument(help="A folder, a file or a Hub id with preference pairs.")],
    split: Annotated[str, typer.Option(help="Which split of the source.")] = "train",
    against: Annotated[str, typer.Option(help="The other set: reports prompts that both share.")] = "",
    against_split: Annotated[str, typer.Option(help="Which split of the other set.")] = "test",
    format_: Annotated[str, typer.Option("--format", help="Name of the format; recognised by itself.")] = "auto",
    option: FormatOptions = [],  # noqa: B006  (typer reads it, nobody changes it)
    resolution: Annotated[int, typer.Option(help="Reports images that are smaller than this.")] = 0,
    strict: Annotated[bool, typer.Option("--strict", help="Warnings fail too.")] = False,
) -> None:
    """Report ties, unreadable files, duplicates, sizes, leaks, and what will be dropped and why."""
    from rich.console import Console

    from diffalign.data.check.run import check_pairs
    from diffalign.data.readers import read_pairs

    pairs = read_pairs(source, format=format_, split=split, **format_options(option))
    other = read_pairs(against, split=against_split) if against else None
    report = check_pairs(pairs, against=other, resolution=resolution or None)
    Console().print(report)
    raise typer.Exit(report.exit_code(strict=strict))


@app.command()
def score(
    source: Annotated[
        str, typer.Argument(help="Pairs (a folder, a file or a Hub id), or a folder of single images or texts.")
    ],
    scorer: Annotated[
        list[str],
        typer.Option("--scorer", help="NAME or NAME:ARGUMENT, e.g. clip:openai/clip-vit-large-patch14, sentiment."),
    ],
    output: Annotated[
        Path | None, typer.Option(help="File for the scores of pairs; by default SOURCE/scores/SCORER.jsonl.")
    ] = None,
    split: Annotated[str, typer.Option(help="Which split of the pairs.")] = "train",
    format_: Annotated[str, typer.Option("--format", help="Format of the pairs; recognised by itself.")] = "auto",
    option: FormatOptions = [],  # noqa: B006
    batch: Annotated[int, typer.Option(help="Pairs judged at once; it does not change the scores.")] = 16,
    device: Annotated[
        str, typer.Option(help="Where scorers compute: cpu, cuda, cuda:1; the GPU if there is one.")
    ] = "",
) -> None:
    """Score pairs, or single images and texts, against their prompts.

    Of each pair both candidates are scored, into one file per scorer that a recipe names under data.scores; a killed
    command goes on where it stopped. A folder of single images or texts with metadata.jsonl (prompt and file_name, or
    prompt and completion), as `diffalign generate` writes it, gets the scores into that file.
    """
    import torch

    from diffalign.data.readers import read_pairs
    from diffalign.evaluation.samples.score_folder import is_sample_folder, score_folder
    from diffalign.evaluation.samples.score_pairs import score_pairs, summary_lines
    from diffalign.training.report.progress import ProgressReport

    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    if is_sample_folder(source):
        if output is not None:
            raise UserError(f"'{source}' holds single samples: their scores go into its metadata.jsonl, not --output.")
        for line in score_folder(Path(source).expanduser(), scorer, device):
            typer.echo(line)
        return
    if output is not None and len(scorer) > 1:
        raise UserError("--output is the file of one scorer. Type one command per scorer, or leave --output away.")
    pairs = read_pairs(source, format=format_, split=split, **format_options(option))
    typer.echo(pairs.summary())
    with ProgressReport(0) as report:
        for spec in scorer:
            table = score_pairs(pairs, spec, output, split=split, batch=batch, device=device, progress=report.preparing)
            typer.echo(summary_lines(table))


def format_options(given: list[str]) -> dict[str, Any]:
    """Options of a format: values are YAML, so that ``columns={caption: text}`` is a mapping."""
    import yaml

    options: dict[str, Any] = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals:
            raise UserError(f"--option takes NAME=VALUE, such as ties=soft; got '{text}'.")
        try:
            options[name.strip()] = yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise UserError(f"the value of --option {name} is not YAML: {value!r}.") from error
    return options
