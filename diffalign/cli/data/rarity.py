"""`diffalign data rarity`: weights of pairs by how rare their scores are."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from diffalign.cli.app import data_app
from diffalign.cli.options import Format, FormatOptions, ScoreFiles, Source, Split, parse_format_options


@data_app.command("rarity")
def rarity(
    source: Source,
    scores: ScoreFiles = [],  # noqa: B006  (typer reads the default and nothing changes it)
    scorer: Annotated[str, typer.Option(help="Name of the scores; needed where the pairs have several.")] = "",
    probability: Annotated[
        str, typer.Option(help="Name of a column with each pair's probability, in place of scores.")
    ] = "",
    alpha: Annotated[float, typer.Option(help="Strength: 0 gives every pair weight 1.")] = 0.5,
    bins: Annotated[int, typer.Option(help="Bins of the histograms of winners' and losers' scores.")] = 10,
    output: Annotated[
        Path | None, typer.Option(help="File for the weights; by default SOURCE/scores/weight.jsonl.")
    ] = None,
    split: Split = "train",
    format_: Format = "auto",
    option: FormatOptions = [],  # noqa: B006
) -> None:
    """Write weights that make pairs with rare scores count more: (largest p / p) to the power alpha.

    p is how common a pair's two scores are. Name the file under data.scores of the recipe and set
    labels: {name: column, weight: weight}.
    """
    from diffalign.data.readers import read_pairs
    from diffalign.data.records.score_table import read_scores, with_scores
    from diffalign.data.transforms.weight_by_rarity import write_rarity_weights

    pair_set = read_pairs(source, format=format_, split=split, **parse_format_options(option))
    pair_set = with_scores(pair_set, [read_scores(path) for path in scores])
    settings = {"scorer": scorer, "probability": probability, "alpha": alpha, "bins": bins}
    table = write_rarity_weights(pair_set, output, split=split, **settings)  # type: ignore[arg-type]
    mean = sum(weight for (weight,) in table.rows.values()) / len(table.rows)
    typer.echo(
        f"{len(table.rows):,} pairs: weights from {table.low:.3g} to {table.high:.3g}, mean {mean:.3g}, which acts as "
        f"a factor on the learning rate; written to {table.path}"
    )
