"""`diffalign data curriculum`: pairs sorted into stages from easy to hard."""

from __future__ import annotations

from typing import Annotated

import typer

from diffalign.cli.app import data_app
from diffalign.cli.data.open_and_save import open_source
from diffalign.cli.options import Format, FormatOptions, OutputFolder, ScoreFiles, Seed, Source, Split


@data_app.command("curriculum")
def curriculum(
    source: Source,
    output: OutputFolder,
    key: Annotated[
        str,
        typer.Option(
            help="Measure of how easy a pair is: a score of both candidates, a number of the pair, or probability."
        ),
    ],
    stages: Annotated[int, typer.Option(help="Number of stages, one file each.")] = 3,
    order: Annotated[str, typer.Option(help="easy_first, hard_first or shuffled.")] = "easy_first",
    by: Annotated[
        str, typer.Option(help="prompt (the i-th easiest pair of each prompt) or global (all pairs sorted together).")
    ] = "prompt",
    reference: Annotated[
        str, typer.Option(help="Reference of each stage: previous_stage, or fixed for the initial model.")
    ] = "previous_stage",
    scores: ScoreFiles = [],  # noqa: B006  (typer reads the default and nothing changes it)
    seed: Seed = 0,
    split: Split = "train",
    format_: Format = "auto",
    option: FormatOptions = [],  # noqa: B006
) -> None:
    """Sort pairs into stages from easy to hard, and write stage-1.jsonl and so on with curriculum.yaml."""
    from diffalign.data.transforms import build_curriculum
    from diffalign.data.transforms.curriculum_files import write_stages

    pair_set, rows = open_source(
        source, output / "stage-1.jsonl", split=split, format=format_, option=option, scores=scores
    )
    result = build_curriculum(rows, key=key, stages=stages, order=order, by=by, seed=seed)  # type: ignore[arg-type]
    write_stages(output, result, reference)
    row_count, written = len(pair_set) + len(pair_set.dropped), sum(map(len, result.stages))
    dropped = f"; left out while reading: {len(pair_set.dropped):,}" if pair_set.dropped else ""
    typer.echo(f"curriculum: {row_count:,} rows in, {result.pairs:,} pairs, {written:,} out to {output}{dropped}")
    typer.echo(f"  {result.summary()}")
    typer.echo(f"  train with  python -m pipelines.curriculum RECIPE --stages {output}")
