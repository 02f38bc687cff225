"""`diffalign data ches`, `separability` and `difficulty`: properties of pairs under a model before training."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from diffalign.cli.app import data_app
from diffalign.cli.data.open_and_save import open_source, save_result
from diffalign.cli.key_value_settings import Model
from diffalign.cli.options import (
    Adapter,
    Format,
    FormatOptions,
    Kind,
    ModelPath,
    ModelSettings,
    OutputFile,
    ScoreFiles,
    Seed,
    Source,
    Split,
)
from diffalign.cli.progress_line import show_progress
from diffalign.errors import UserError

if TYPE_CHECKING:
    from diffalign.data.separability.study import Features

KeepLowest = Annotated[
    float | None, typer.Option("--keep-lowest", help="Share of the pairs to write, those with the lowest numbers.")
]
DropTop = Annotated[
    float | None, typer.Option("--drop-top", help="Share of the pairs to leave out, those with the highest numbers.")
]
Batch = Annotated[int, typer.Option(help="Pairs per forward pass; it does not change the numbers.")]


@data_app.command("ches")
def ches(
    source: Source,
    model: ModelPath,
    output: OutputFile,
    keep_lowest: KeepLowest = None,
    drop_top: DropTop = None,
    by: Annotated[str, typer.Option(help="Number to filter by: ln_ches, or ches if lengths are alike.")] = "ln_ches",
    adapter: Adapter = "",
    batch: Batch = 8,
    model_setting: ModelSettings = [],  # noqa: B006  (typer reads the default and nothing changes it)
    split: Split = "train",
    format_: Format = "auto",
    option: FormatOptions = [],  # noqa: B006
) -> None:
    """Measure how alike the two answers of a pair are to a language model, and write the numbers with the pairs.

    Training on pairs with a high CHES score lowers the likelihood of the chosen answer too; --keep-lowest and
    --drop-top filter them.
    """
    from diffalign.data.transforms.filter_by_score import filter_by_score, quantile_table, share_to_keep
    from diffalign.evaluation.diagnosis.ches import COLUMNS, ches_scores

    share = share_to_keep(keep_lowest, drop_top)
    if by not in COLUMNS:
        raise UserError(f"--by is one of {', '.join(COLUMNS)}; got '{by}'.")
    pair_set, rows = open_source(source, output, split=split, format=format_, option=option)
    policy = Model.language(model, model_setting, adapter).open()
    progress_file, scores = ches_scores(policy, pair_set.pairs, target=output, batch=batch, progress=show_progress)
    for line in quantile_table(scores):
        typer.echo(line)
    save_result("ches", pair_set, filter_by_score(rows, scores, by, share), output)
    progress_file.remove()


@data_app.command("separability")
def separability(
    source: Source,
    model: Annotated[str, typer.Option(help="A language model; its hidden states are probed as well.")] = "",
    scorer: Annotated[str, typer.Option(help="An image encoder to probe as well, such as clip:FOLDER.")] = "",
    quality: Annotated[str, typer.Option(help="A stored score of both candidates to compare the probe with.")] = "",
    output: Annotated[Path | None, typer.Option(help="The .jsonl file for the pairs with their probe_margin.")] = None,
    drop_top: Annotated[
        float | None, typer.Option("--drop-top", help="Share of the pairs to leave out, those easiest to separate.")
    ] = None,
    within: Annotated[bool, typer.Option("--within", help="Use differences within pairs only.")] = False,
    folds: Annotated[int, typer.Option(help="Number of folds of the prompts for cross-validation.")] = 5,
    penalty: Annotated[float, typer.Option(help="L2 penalty of the probe.")] = 1.0,
    limit: Annotated[int, typer.Option(help="Number of pairs to read; 0 reads all.")] = 0,
    scores: ScoreFiles = [],  # noqa: B006
    adapter: Adapter = "",
    batch: Batch = 8,
    seed: Seed = 0,
    model_setting: ModelSettings = [],  # noqa: B006
    split: Split = "train",
    format_: Format = "auto",
    option: FormatOptions = [],  # noqa: B006
) -> None:
    """Report whether a linear probe separates chosen from rejected by form only.

    If it does, training may learn the form instead of the preference. --output writes the pairs with their margins.
    """
    from diffalign.data.separability.study import study_separability, surface_features
    from diffalign.data.transforms.filter_by_score import filter_by_score, share_to_keep

    share = share_to_keep(None, drop_top)
    if output is None and share is not None:
        raise UserError("--drop-top writes the remaining pairs. Give a file: --output FILE.jsonl")
    if folds < 2 or penalty <= 0 or limit < 0:
        raise UserError("--folds must be 2 or more, --penalty above 0, and --limit 0 or more.")
    if output is not None and limit:
        raise UserError("--output writes a margin for every pair, so all pairs are read. Leave --limit out.")
    checked_output = output if output is not None else Path("unwritten.jsonl")
    pair_set, rows = open_source(source, checked_output, split=split, format=format_, option=option, scores=scores)
    pairs = pair_set.pairs[:limit] if limit else pair_set.pairs
    features: dict[str, Features] = surface_features(pairs)
    if model:
        from diffalign.evaluation.diagnosis.probe_features import hidden_states

        policy = Model.language(model, model_setting, adapter).open()
        features["hidden states"] = hidden_states(policy, pairs, batch=batch, progress=show_progress)
    if scorer:
        from diffalign.devices.device_memory import best_device
        from diffalign.evaluation.diagnosis.probe_features import image_embeddings
        from diffalign.scorers import load_scorer

        features["embeddings"] = image_embeddings(load_scorer(scorer, str(best_device())), pairs)
    options = {"folds": folds, "penalty": penalty, "within": within, "quality": quality, "seed": seed}
    result = study_separability(pairs, features, **options)  # type: ignore[arg-type]
    typer.echo(result.render())
    if output is not None:
        margins = {name: {"probe_margin": margin} for name, margin in result.margins.items()}
        save_result("separability", pair_set, filter_by_score(rows, margins, "probe_margin", share), output)


@data_app.command("difficulty")
def difficulty(
    source: Source,
    model: ModelPath,
    output: OutputFile,
    beta: Annotated[float, typer.Option(help="The beta of the planned training.")] = 0.1,
    reached: Annotated[
        float, typer.Option(help="A loss that training usually reaches; it separates easy from hard pairs.")
    ] = 0.6,
    keep_lowest: KeepLowest = None,
    drop_top: DropTop = None,
    eval_draws: Annotated[
        int,
        typer.Option(
            "--eval-draws", "--looks", help="Noise draws averaged per pair; 0 takes the model's number (1 for text)."
        ),
    ] = 0,
    adapter: Adapter = "",
    kind: Kind = "",
    batch: Batch = 8,
    seed: Seed = 0,
    model_setting: ModelSettings = [],  # noqa: B006
    split: Split = "train",
    format_: Format = "auto",
    option: FormatOptions = [],  # noqa: B006
) -> None:
    """Measure how wrong a model ranks each pair before training, and write the numbers with the pairs.

    Also computes the loss at which training ranks the pair right.
    """
    from diffalign.data.readers.formats.pairs_with_extra_columns import PairRow
    from diffalign.data.transforms.filter_by_score import filter_by_score, share_to_keep
    from diffalign.evaluation.diagnosis.difficulty import ref_logps, summary_lines, with_difficulty

    share = share_to_keep(keep_lowest, drop_top)
    if beta <= 0 or reached <= 0:
        raise UserError(f"--beta and --reached must be above 0; got {beta:g} and {reached:g}.")
    pair_set, rows = open_source(source, output, split=split, format=format_, option=option)
    policy = Model.from_options(model, kind, model_setting, adapter).open()
    progress_file, logps = ref_logps(
        policy,
        pair_set.pairs,
        target=output,
        eval_draws=eval_draws,
        batch=batch,
        seed=seed,
        progress=show_progress,
    )
    scored_rows = [
        PairRow(with_difficulty(row.pair, logps[row.pair.id], beta=beta, reached=reached), row.columns) for row in rows
    ]
    for line in summary_lines([row.pair for row in scored_rows]):
        typer.echo(line)
    scores = {row.pair.id: {"difficulty": row.pair.scores["pair"]["difficulty"]} for row in scored_rows}
    save_result("difficulty", pair_set, filter_by_score(scored_rows, scores, "difficulty", share), output)
    progress_file.remove()
