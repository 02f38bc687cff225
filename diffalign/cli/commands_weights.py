"""`diffalign data density`: weights for undesirable examples whose prompts are not those of the desirable ones."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from diffalign.cli.app import data_app
from diffalign.cli.commands_data import FormatOptions, format_options


@data_app.command("density")
def density(
    source: Annotated[str, typer.Argument(help="Answers that were judged one by one: a folder, a file or a Hub id.")],
    output: Annotated[
        Path | None, typer.Option(help="File for the weights; by default SOURCE/scores/weight.jsonl.")
    ] = None,
    split: Annotated[str, typer.Option(help="Which split of the source.")] = "train",
    format_: Annotated[str, typer.Option("--format", help="Name of the format; recognised by itself.")] = "auto",
    option: FormatOptions = [],  # noqa: B006  (typer reads it, nobody changes it)
) -> None:
    """Weigh bad answers by how likely their prompts are among those of the good ones.

    For losses on single examples (bco, kto) where thumbs up and thumbs down come from different prompts. The file goes
    under data.scores; the recipe then says labels: {name: column, weight: weight}.
    """
    from diffalign.data.readers import read_pairs
    from diffalign.data.transforms.prompt_density_ratio import write_density_weights

    found = read_pairs(source, format=format_, split=split, **format_options(option))
    table, made = write_density_weights(found, output, split=split)
    bad = [weight for pair, weight in zip(found.pairs, made.rows.values(), strict=True) if not pair.desirable]
    typer.echo(
        f"{len(bad):,} undesirable examples of {len(found):,}: weights from {min(bad):.3g} to {max(bad):.3g}, mean "
        f"{sum(bad) / len(bad):.3g}; written to {table.path}"
    )
    typer.echo(f"told apart in {made.told:.0%} of held-out prompts; 50% is chance, and then no weights are needed")
