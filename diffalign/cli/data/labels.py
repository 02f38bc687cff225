"""`diffalign data flip`, `strength`, `design-rejected` and `density`: labels and weights of examples."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from diffalign.cli.app import data_app
from diffalign.cli.data.open_and_save import open_source, save_result
from diffalign.cli.options import (
    Format,
    FormatOptions,
    OutputFile,
    ScoreFiles,
    Seed,
    Source,
    Split,
    parse_format_options,
    parse_names_and_values,
)
from diffalign.errors import UserError

if TYPE_CHECKING:
    from diffalign.data.records.pair import PairSet

Scorers = Annotated[
    list[str], typer.Option("--scorer", help="Name of a judge whose scores both candidates carry. Repeatable.")
]
Scale = Annotated[
    str, typer.Option(help="deviation (each judge's differences divided by their standard deviation) or none.")
]


@data_app.command("flip")
def flip(
    source: Source,
    output: OutputFile,
    share: Annotated[float | None, typer.Option(help="Share of labels to flip, drawn with --seed.")] = None,
    ids: Annotated[Path | None, typer.Option(help="File with the ids of rows to flip, one per line.")] = None,
    scores: ScoreFiles = [],  # noqa: B006  (typer reads the default and nothing changes it)
    scorer: Scorers = [],  # noqa: B006
    scale: Scale = "none",
    seed: Seed = 0,
    split: Split = "train",
    format_: Format = "auto",
    option: FormatOptions = [],  # noqa: B006
) -> None:
    """Write the pairs with some labels flipped: a random share, given rows, or those that judges contradict."""
    from diffalign.data.records.score_table import read_scores
    from diffalign.data.transforms import collect_votes, flip_disputed, flip_named, flip_share
    from diffalign.files.json_lines import text_lines

    if sum((share is not None, ids is not None, bool(scores or scorer))) != 1:
        raise UserError(
            "choose which labels are flipped, one of: --share 0.1, --ids FILE, or --scores FILE / --scorer NAME."
        )
    pair_set, rows = open_source(source, output, split=split, format=format_, option=option)
    _refuse_ranked_lists(pair_set, source)
    if share is not None:
        result = flip_share(rows, share=share, seed=seed)
    elif ids is not None:
        if not ids.is_file():
            raise UserError(f"there is no file of ids at '{ids}'.")
        result = flip_named(rows, text_lines(ids))
    else:
        votes = collect_votes(pair_set.pairs, [read_scores(path) for path in scores], scorer, scale)  # type: ignore[arg-type]
        mean_of = {pair.id: mean for pair, mean in zip(pair_set.pairs, votes.means, strict=True)}
        result = flip_disputed(rows, lambda pair: mean_of[pair.id])
    save_result("flip", pair_set, result, output)


@data_app.command("strength")
def strength(
    source: Source,
    output: OutputFile,
    scores: ScoreFiles = [],  # noqa: B006
    scorer: Scorers = [],  # noqa: B006
    scale: Scale = "none",
    wrong: Annotated[float, typer.Option(help="Share of pairs in the bucket wrong.")] = 0.2,
    ambiguous: Annotated[float, typer.Option(help="Share of pairs in the bucket ambiguous.")] = 0.2,
    top: Annotated[float, typer.Option(help="Share of pairs in the bucket top.")] = 0.1,
    wrong_below: Annotated[float | None, typer.Option(help="Mean vote below which a pair is wrong.")] = None,
    ambiguous_below: Annotated[float | None, typer.Option(help="Mean vote below which a pair is ambiguous.")] = None,
    top_above: Annotated[float | None, typer.Option(help="Mean vote above which a pair is top.")] = None,
    treat: Annotated[
        list[str],
        typer.Option(
            help="BUCKET=TREATMENT. Buckets: wrong, ambiguous, normal, top. Treatments: keep, flip, soft, margin, "
            "soft+margin, drop. Repeatable."
        ),
    ] = [],  # noqa: B006
    soft: Annotated[float, typer.Option(help="Probability that a softened label is wrong.")] = 0.1,
    margin_scale: Annotated[float, typer.Option(help="Factor from mean votes to margins.")] = 1.0,
    split: Split = "train",
    format_: Format = "auto",
    option: FormatOptions = [],  # noqa: B006
) -> None:
    """Sort pairs into buckets by the mean vote of several judges, and write them treated by bucket.

    Labels that are probably wrong can be flipped, doubtful ones softened, and strong ones given a margin.
    """
    from diffalign.data.records.score_table import read_scores
    from diffalign.data.transforms import Cuts, collect_votes, treat_by_strength

    pair_set, rows = open_source(source, output, split=split, format=format_, option=option)
    _refuse_ranked_lists(pair_set, source)
    votes = collect_votes(pair_set.pairs, [read_scores(path) for path in scores], scorer, scale)  # type: ignore[arg-type]
    cuts = Cuts(wrong, ambiguous, top, wrong_below, ambiguous_below, top_above)
    treatments = parse_names_and_values(treat, "--treat", "wrong=drop")
    result = treat_by_strength(rows, votes, cuts=cuts, treat=treatments, soft=soft, margin_scale=margin_scale)
    save_result("strength", pair_set, result, output)
    typer.echo("  train with the recipe's  labels: {name: column, margin: margin}")


@data_app.command("design-rejected")
def design_rejected(
    source: Source,
    output: OutputFile,
    score: Annotated[str, typer.Option(help="Name of a stored score of every answer, the target reward.")] = "score",
    beta: Annotated[float, typer.Option(help="The beta of the planned training.")] = 0.1,
    reward_beta: Annotated[
        float | None, typer.Option(help="KL weight of the target policy, which divides the score; by default --beta.")
    ] = None,
    scores: ScoreFiles = [],  # noqa: B006
    seed: Seed = 0,
    split: Split = "train",
    format_: Format = "auto",
    option: FormatOptions = [],  # noqa: B006
) -> None:
    """Sample the rejected answer of several so that DPO on the written pairs recovers a target policy."""
    from diffalign.data.transforms.choose_rejected_from_list import design_rejected

    divisor = beta if reward_beta is None else reward_beta
    if beta <= 0 or divisor <= 0:
        raise UserError(f"--beta and --reward-beta must be above 0; got {beta:g} and {divisor:g}.")
    pair_set, rows = open_source(source, output, split=split, format=format_, option=option, scores=scores)
    result = design_rejected(rows, score, beta=beta, reward_beta=divisor, seed=seed)
    save_result("design-rejected", pair_set, result, output)


@data_app.command("density")
def density(
    source: Annotated[str, typer.Argument(help="Single labelled answers: a folder, a file or a Hub id.")],
    output: Annotated[
        Path | None, typer.Option(help="File for the weights; by default SOURCE/scores/weight.jsonl.")
    ] = None,
    split: Split = "train",
    format_: Format = "auto",
    option: FormatOptions = [],  # noqa: B006
) -> None:
    """Write weights for undesirable answers, by how likely their prompts are among those of desirable answers.

    For losses on single examples (bco, kto) whose desirable and undesirable answers come from different prompts. Name
    the file under data.scores of the recipe and set labels: {name: column, weight: weight}.
    """
    from diffalign.data.readers import read_pairs
    from diffalign.data.transforms.weight_by_prompt_classifier import write_density_weights

    pair_set = read_pairs(source, format=format_, split=split, **parse_format_options(option))
    table, density_weights = write_density_weights(pair_set, output, split=split)
    undesirable = [
        weight
        for pair, weight in zip(pair_set.pairs, density_weights.weights.values(), strict=True)
        if not pair.desirable
    ]
    typer.echo(
        f"{len(undesirable):,} undesirable examples of {len(pair_set):,}: weights from {min(undesirable):.3g} to "
        f"{max(undesirable):.3g}, mean {sum(undesirable) / len(undesirable):.3g}; written to {table.path}"
    )
    typer.echo(
        f"the classifier is right on {density_weights.accuracy:.0%} of held-out prompts; at 50% (chance) no weights "
        "are needed"
    )


def _refuse_ranked_lists(pair_set: PairSet, source: str) -> None:
    if pair_set.format == "ranked":
        raise UserError(
            "ranked lists take their order from their scores, so their labels cannot be flipped. Make pairs of them "
            f"first: diffalign data curriculum {source} --key score --stages 1 --output FOLDER"
        )
