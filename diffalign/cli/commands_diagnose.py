"""`diffalign data ches`, `separability`, `difficulty`, `rationales`, `design-rejected`, and `diffalign tokens`: what a
model, or a plain look, says of pairs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from diffalign.cli.app import app, data_app
from diffalign.cli.commands_data import format_options
from diffalign.cli.commands_model import Adapter, Kind, ModelPath, ModelSettings, Settings, show_progress
from diffalign.cli.key_value_settings import Model
from diffalign.cli.run_transform import (
    Format,
    FormatOptions,
    OutputFile,
    ScoreFiles,
    Seed,
    Source,
    Split,
    opened,
    saved,
)
from diffalign.errors import UserError

if TYPE_CHECKING:
    from diffalign.data.separability.study import Features

KeepLowest = Annotated[float | None, typer.Option("--keep-lowest", help="Write this share of the pairs: the lowest.")]
DropTop = Annotated[
    float | None, typer.Option("--drop-top", help="Write all but this share of the pairs: the highest.")
]
Batch = Annotated[int, typer.Option(help="Pairs read at once; it does not change the numbers.")]
ForBeta = Annotated[float, typer.Option(help="The beta that training will have.")]


@data_app.command("ches")
def ches(
    source: Source,
    model: ModelPath,
    output: OutputFile,
    keep_lowest: KeepLowest = None,
    drop_top: DropTop = None,
    by: Annotated[str, typer.Option(help="What is filtered by: ln_ches, or ches where lengths are alike.")] = "ln_ches",
    adapter: Adapter = "",
    batch: Batch = 8,
    model_setting: ModelSettings = [],  # noqa: B006  (typer reads it, nobody changes it)
    split: Split = "train",
    format_: Format = "auto",
    option: FormatOptions = [],  # noqa: B006
) -> None:
    """Say which pairs look alike to a language model, so that training on them will lower the chosen answer too."""
    from diffalign.data.transforms.filter_by_score import filter_by_score, quantile_table, share_to_keep
    from diffalign.evaluation.diagnosis.ches import COLUMNS, ches_scores

    share = share_to_keep(keep_lowest, drop_top)
    if by not in COLUMNS:
        raise UserError(f"--by is one of {', '.join(COLUMNS)}; got '{by}'.")
    found, lines = opened(source, output, split=split, format=format_, option=option)
    policy = _language(model, model_setting, adapter).open()
    progress_file, rows = ches_scores(policy, found.pairs, target=output, batch=batch, progress=show_progress)
    for line in quantile_table(rows):
        typer.echo(line)
    saved("ches", found, filter_by_score(lines, rows, by, share), output)
    progress_file.remove()


@data_app.command("separability")
def separability(
    source: Source,
    model: Annotated[str, typer.Option(help="A language model whose hidden states are probed as well.")] = "",
    scorer: Annotated[str, typer.Option(help="An encoder of images to probe as well, such as clip:FOLDER.")] = "",
    quality: Annotated[str, typer.Option(help="A stored score of both candidates to compare the probe with.")] = "",
    output: Annotated[Path | None, typer.Option(help="Write the pairs with their probe_margin, .jsonl.")] = None,
    drop_top: Annotated[
        float | None, typer.Option("--drop-top", help="Write all but this share: those easiest to tell apart.")
    ] = None,
    within: Annotated[bool, typer.Option("--within", help="Look at differences within pairs alone.")] = False,
    folds: Annotated[int, typer.Option(help="Parts that prompts are dealt into; each is judged by the others.")] = 5,
    penalty: Annotated[float, typer.Option(help="L2 penalty of the probe.")] = 1.0,
    limit: Annotated[int, typer.Option(help="Look at this many pairs only; 0: at all.")] = 0,
    scores: ScoreFiles = [],  # noqa: B006
    adapter: Adapter = "",
    batch: Batch = 8,
    seed: Seed = 0,
    model_setting: ModelSettings = [],  # noqa: B006
    split: Split = "train",
    format_: Format = "auto",
    option: FormatOptions = [],  # noqa: B006
) -> None:
    """Say whether a linear rule tells chosen from rejected by form alone: then training will learn that instead."""
    from diffalign.data.separability.study import study_separability, surface_features
    from diffalign.data.transforms.filter_by_score import filter_by_score, share_to_keep

    share = share_to_keep(None, drop_top)
    if output is None and share is not None:
        raise UserError("--drop-top writes the pairs that are left. Say where: --output FILE.jsonl")
    if folds < 2 or penalty <= 0 or limit < 0:
        raise UserError("--folds is 2 or more, --penalty above 0, --limit 0 or more.")
    if output is not None and limit:
        raise UserError("--output writes a margin with every pair, so all are looked at. Leave --limit away.")
    where = output if output is not None else Path("unwritten.jsonl")
    found, lines = opened(source, where, split=split, format=format_, option=option, scores=scores)
    pairs = found.pairs[:limit] if limit else found.pairs
    features: dict[str, Features] = surface_features(pairs)
    if model:
        from diffalign.evaluation.diagnosis.hidden_states import hidden_states

        policy = _language(model, model_setting, adapter).open()
        features["hidden states"] = hidden_states(policy, pairs, batch=batch, progress=show_progress)
    if scorer:
        from diffalign.devices.budget import best_device
        from diffalign.evaluation.diagnosis.hidden_states import image_embeddings
        from diffalign.scorers import load_scorer

        features["embeddings"] = image_embeddings(load_scorer(scorer, str(best_device())), pairs)
    options = {"folds": folds, "penalty": penalty, "within": within, "quality": quality, "seed": seed}
    result = study_separability(pairs, features, **options)  # type: ignore[arg-type]
    typer.echo(result.render())
    if output is not None:
        rows = {name: {"probe_margin": margin} for name, margin in result.margins.items()}
        saved("separability", found, filter_by_score(lines, rows, "probe_margin", share), output)


@data_app.command("difficulty")
def difficulty(
    source: Source,
    model: ModelPath,
    output: OutputFile,
    beta: ForBeta = 0.1,
    reached: Annotated[float, typer.Option(help="A loss that training usually reaches: what is easy to flip.")] = 0.6,
    keep_lowest: KeepLowest = None,
    drop_top: DropTop = None,
    looks: Annotated[int, typer.Option(help="Of an image model: draws per pair; 0: as for a held-out pair.")] = 0,
    adapter: Adapter = "",
    kind: Kind = "",
    batch: Batch = 8,
    seed: Seed = 0,
    model_setting: ModelSettings = [],  # noqa: B006
    split: Split = "train",
    format_: Format = "auto",
    option: FormatOptions = [],  # noqa: B006
) -> None:
    """Say how wrong a model ranks each pair before training, and how low a loss it takes to turn it round."""
    from diffalign.data.readers.rows_with_columns import PairRow
    from diffalign.data.transforms.filter_by_score import filter_by_score, share_to_keep
    from diffalign.evaluation.diagnosis.difficulty import ref_logps, summary_lines, with_difficulty

    share = share_to_keep(keep_lowest, drop_top)
    if beta <= 0 or reached <= 0:
        raise UserError(f"--beta and --reached are above 0; got {beta:g} and {reached:g}.")
    found, lines = opened(source, output, split=split, format=format_, option=option)
    policy = Model.named(model, kind, model_setting, adapter).open()
    options = {"target": output, "eval_draws": looks, "batch": batch, "seed": seed, "progress": show_progress}
    progress_file, logps = ref_logps(policy, found.pairs, **options)  # type: ignore[arg-type]
    marked = [
        PairRow(with_difficulty(line.pair, logps[line.pair.id], beta=beta, reached=reached), line.columns)
        for line in lines
    ]
    for row in summary_lines([line.pair for line in marked]):
        typer.echo(row)
    rows = {line.pair.id: {"difficulty": line.pair.scores["pair"]["difficulty"]} for line in marked}
    saved("difficulty", found, filter_by_score(marked, rows, "difficulty", share), output)
    progress_file.remove()


@data_app.command("rationales")
def rationales(
    source: Source,
    model: ModelPath,
    output: OutputFile,
    style: Annotated[str, typer.Option(help="general: a short reason; specific: a comparison in detail.")] = "general",
    setting: Settings = [],  # noqa: B006
    adapter: Adapter = "",
    batch: Batch = 8,
    seed: Seed = 0,
    model_setting: ModelSettings = [],  # noqa: B006
    split: Split = "train",
    format_: Format = "auto",
    option: FormatOptions = [],  # noqa: B006
) -> None:
    """Let a language model write why the chosen answer is better: the column rationale, for the loss of that name."""
    from diffalign.pairs.generate_rationales import add_rationales

    named = _language(model, model_setting, adapter)
    given = {text.partition("=")[0].strip() for text in setting}
    quiet = {name: value for name, value in (("temperature", 0.0), ("max_new_tokens", 256)) if name not in given}
    settings = named.sampling(setting, **quiet)
    found, lines = opened(source, output, split=split, format=format_, option=option)
    options = {"style": style, "target": output, "batch": batch, "seed": seed, "progress": show_progress}
    progress_file, outcome = add_rationales(named.open(), lines, **options, **settings)  # type: ignore[arg-type]
    saved("rationales", found, outcome, output)
    progress_file.remove()


@data_app.command("design-rejected")
def design_rejected(
    source: Source,
    output: OutputFile,
    score: Annotated[str, typer.Option(help="A stored score of every answer: the reward that is wanted.")] = "score",
    beta: ForBeta = 0.1,
    reward_beta: Annotated[
        float | None, typer.Option(help="Divides the score: the weight of the KL that it is wanted under; else --beta.")
    ] = None,
    scores: ScoreFiles = [],  # noqa: B006
    seed: Seed = 0,
    split: Split = "train",
    format_: Format = "auto",
    option: FormatOptions = [],  # noqa: B006
) -> None:
    """Of several answers draw the rejected one so that DPO on the pairs aims at the policy that is wanted."""
    from diffalign.data.transforms.design_rejected import design_rejected

    divisor = beta if reward_beta is None else reward_beta
    if beta <= 0 or divisor <= 0:
        raise UserError(f"--beta and --reward-beta are above 0; got {beta:g} and {divisor:g}.")
    found, lines = opened(source, output, split=split, format=format_, option=option, scores=scores)
    saved("design-rejected", found, design_rejected(lines, score, beta=beta, reward_beta=divisor, seed=seed), output)


@app.command("tokens")
def tokens(
    source: Source,
    model: ModelPath,
    adapter: Annotated[str, typer.Option(help="The adapter whose rewards are read.")],
    output: Annotated[Path, typer.Option(help="A page, .html, or a table, .jsonl.")],
    beta: Annotated[float, typer.Option(help="The beta that the adapter was trained with.")] = 0.1,
    limit: Annotated[int, typer.Option(help="Read this many pairs; 0: all.")] = 20,
    batch: Batch = 8,
    model_setting: ModelSettings = [],  # noqa: B006
    split: Split = "train",
    format_: Format = "auto",
    option: FormatOptions = [],  # noqa: B006
) -> None:
    """Show which tokens of given answers an aligned language model rewards: beta times its log-ratio to the base."""
    from diffalign.data.readers import read_pairs
    from diffalign.evaluation.diagnosis.token_rewards import answer_rewards, write_token_rewards

    if output.suffix not in (".html", ".jsonl"):
        raise UserError(f"--output is a page, .html, or a table, .jsonl; got '{output.name}'.")
    if beta <= 0 or limit < 0:
        raise UserError("--beta is above 0, and --limit 0 or more.")
    found = read_pairs(source, format=format_, limit=limit or None, split=split, **format_options(list(option)))
    policy = _language(model, model_setting, adapter).open()
    rows = list(answer_rewards(policy, found.pairs, beta=beta, batch=batch, progress=show_progress))
    write_token_rewards(output, rows, beta=beta)
    typer.echo(f"{len(rows):,} answers of {len(found):,} rows in {output}")


def _language(path: str, given: list[str], adapter: str) -> Model:
    """A language model; a Hub id is taken for one. Raises UserError for a folder that holds another."""
    from diffalign.training.recipe.model_kinds import kind_named

    if Path(path).expanduser().is_dir() and kind_named({"path": path}) != "text":
        raise UserError(
            f"'{path}' holds a model of images, and this is asked of language models. For images there are "
            "`diffalign data separability` and `diffalign data difficulty`."
        )
    return Model.named(path, "text", given, adapter)
