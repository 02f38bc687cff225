"""`diffalign data flip`, `strength`, `curriculum`, `prompt-pairs` and `fewshot`: a data set made of a data set."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from diffalign.cli.app import data_app
from diffalign.cli.run_transform import (
    Format,
    FormatOptions,
    OutputFile,
    OutputFolder,
    ScoreFiles,
    Seed,
    Source,
    Split,
    opened,
    saved,
)
from diffalign.errors import UserError

if TYPE_CHECKING:
    from diffalign.data.records.pair import PairSet

Scorers = Annotated[
    list[str], typer.Option("--scorer", help="Scores that both candidates bring, by name: a judge. Repeatable.")
]
Scale = Annotated[
    str, typer.Option(help="deviation: every judge's differences in units of their size; none: as they are.")
]
Share = Annotated[float, typer.Option(help="Share of the pairs.")]
Cut = Annotated[float | None, typer.Option(help="Instead of the share: by the mean vote itself.")]


@data_app.command("flip")
def flip(
    source: Source,
    output: OutputFile,
    share: Annotated[float | None, typer.Option(help="Turn this share of the labels round, drawn by --seed.")] = None,
    ids: Annotated[Path | None, typer.Option(help="Turn the rows of these ids round: a file, one a line.")] = None,
    scores: ScoreFiles = [],  # noqa: B006  (typer reads it, nobody changes it)
    scorer: Scorers = [],  # noqa: B006
    scale: Scale = "none",
    seed: Seed = 0,
    split: Split = "train",
    format_: Format = "auto",
    option: FormatOptions = [],  # noqa: B006
) -> None:
    """Turn labels round: a random share, named rows, or those that judges contradict (--scores, --scorer)."""
    from diffalign.data.records.score_table import read_scores
    from diffalign.data.transforms import collect_votes, flip_disputed, flip_named, flip_share

    if sum((share is not None, ids is not None, bool(scores or scorer))) != 1:
        raise UserError(
            "say which labels are turned round: --share 0.1, or --ids FILE, or --scores FILE / --scorer NAME."
        )
    found, lines = opened(source, output, split=split, format=format_, option=option)
    _refuse_lists(found, source)
    if share is not None:
        outcome = flip_share(lines, share=share, seed=seed)
    elif ids is not None:
        if not ids.is_file():
            raise UserError(f"there is no file of ids at '{ids}'.")
        outcome = flip_named(lines, [line.strip() for line in ids.read_text("utf-8").splitlines() if line.strip()])
    else:
        means = collect_votes(found.pairs, [read_scores(path) for path in scores], scorer, scale).means  # type: ignore[arg-type]
        by_id = {pair.id: mean for pair, mean in zip(found.pairs, means, strict=True)}
        outcome = flip_disputed(lines, lambda pair: by_id[pair.id])
    saved("flip", found, outcome, output)


@data_app.command("strength")
def strength(
    source: Source,
    output: OutputFile,
    scores: ScoreFiles = [],  # noqa: B006
    scorer: Scorers = [],  # noqa: B006
    scale: Scale = "none",
    wrong: Share = 0.2,
    ambiguous: Share = 0.2,
    top: Share = 0.1,
    wrong_below: Cut = None,
    ambiguous_below: Cut = None,
    top_above: Cut = None,
    treat: Annotated[
        list[str],
        typer.Option(
            help="BUCKET=TREATMENT, of wrong, ambiguous, normal, top and keep, flip, soft, margin, soft+margin, drop."
        ),
    ] = [],  # noqa: B006
    soft: Annotated[float, typer.Option(help="How likely a softened label is wrong.")] = 0.1,
    margin_scale: Annotated[float, typer.Option(help="Factor from mean votes to margins.")] = 1.0,
    split: Split = "train",
    format_: Format = "auto",
    option: FormatOptions = [],  # noqa: B006
) -> None:
    """Let several judges vote on each pair; flip what is probably wrong, soften what is doubtful, write margins."""
    from diffalign.data.records.score_table import read_scores
    from diffalign.data.transforms import Cuts, collect_votes, treat_by_strength

    found, lines = opened(source, output, split=split, format=format_, option=option)
    _refuse_lists(found, source)
    judged = collect_votes(found.pairs, [read_scores(path) for path in scores], scorer, scale)  # type: ignore[arg-type]
    cuts = Cuts(wrong, ambiguous, top, wrong_below, ambiguous_below, top_above)
    treated = _pairs_of(treat, "--treat", "wrong=drop")
    saved(
        "strength",
        found,
        treat_by_strength(lines, judged, cuts=cuts, treat=treated, soft=soft, margin_scale=margin_scale),
        output,
    )
    typer.echo("  train with the recipe's  labels: {name: column, margin: margin}")


@data_app.command("curriculum")
def curriculum(
    source: Source,
    output: OutputFolder,
    key: Annotated[
        str, typer.Option(help="A score of both candidates, a number of the pair, or probability: how far ahead it is.")
    ],
    stages: Annotated[int, typer.Option(help="How many files.")] = 3,
    order: Annotated[str, typer.Option(help="easy_first, hard_first or shuffled.")] = "easy_first",
    by: Annotated[
        str, typer.Option(help="prompt: the i-th easiest of each prompt; global: all sorted together.")
    ] = "prompt",
    reference: Annotated[
        str, typer.Option(help="Written into curriculum.yaml: previous_stage, or fixed for the model at the start.")
    ] = "previous_stage",
    scores: ScoreFiles = [],  # noqa: B006
    seed: Seed = 0,
    split: Split = "train",
    format_: Format = "auto",
    option: FormatOptions = [],  # noqa: B006
) -> None:
    """Sort pairs into stages from easy to hard, stage-1.jsonl and so on, and say how to train on them."""
    from diffalign.data.transforms import build_curriculum
    from diffalign.data.transforms.curriculum_files import write_stages

    found, lines = opened(source, output / "stage-1.jsonl", split=split, format=format_, option=option, scores=scores)
    made = build_curriculum(lines, key=key, stages=stages, order=order, by=by, seed=seed)  # type: ignore[arg-type]
    write_stages(output, made, reference)
    rows, count = len(found) + len(found.dropped), sum(map(len, made.stages))
    left = f"; left out while reading: {len(found.dropped):,}" if found.dropped else ""
    typer.echo(f"curriculum: {rows:,} rows in, {made.pairs:,} pairs, {count:,} out to {output}{left}")
    typer.echo(f"  {made.summary()}")
    typer.echo(f"  train with  python -m pipelines.curriculum RECIPE --stages {output}")


@data_app.command("prompt-pairs")
def prompt_pairs(
    source: Source,
    output: OutputFolder,
    rule: Annotated[list[str], typer.Option(help="A rule to make instructions of; all without. Repeatable.")] = [],  # noqa: B006
    attribute: Annotated[
        list[str],
        typer.Option(help="Of images: a column with an attribute, NAME or NAME='at the {}'. Repeatable."),
    ] = [],  # noqa: B006
    template: Annotated[str, typer.Option(help="Of images: the whole prompt, '{count} {subject} on {colour}'.")] = "",
    least: Annotated[int, typer.Option(help="Instructions per prompt, at least; 1 with attributes.")] = 2,
    most: Annotated[int, typer.Option(help="Instructions per prompt, at most.")] = 5,
    fits: Annotated[str, typer.Option(help="Of the rejected prompt the answer follows some, or none.")] = "some",
    conflicting: Annotated[float, typer.Option(help="Share of augmented rows that favour the rejected answer.")] = 0.0,
    seed: Seed = 0,
    split: Split = "train",
    format_: Format = "auto",
    option: FormatOptions = [],  # noqa: B006
) -> None:
    """Make prompts with instructions that can be checked: within.jsonl (one answer, two prompts), between.jsonl (two
    answers, two prompts)."""
    from diffalign.data.transforms import between, within
    from diffalign.data.transforms.prompt_pairs import select_rules

    phrases = {name: phrase or "{}" for name, phrase in (text.partition("=")[::2] for text in attribute)}
    settings = {"rules": select_rules(rule, phrases), "most": most, "template": template, "seed": seed}
    settings["least"] = min(least, 1) if phrases else least
    found, lines = opened(source, output / "within.jsonl", split=split, format=format_, option=option)
    saved("within", found, within(lines, fits=fits, **settings), output / "within.jsonl")  # type: ignore[arg-type]
    saved("between", found, between(lines, conflicting=conflicting, **settings), output / "between.jsonl")  # type: ignore[arg-type]


@data_app.command("fewshot")
def fewshot(
    source: Source,
    output: OutputFolder,
    shots: Annotated[int, typer.Option(help="Judgements of the same user in each prompt.")] = 4,
    group_by: Annotated[str, typer.Option(help="The column that names the user.")] = "group",
    passes: Annotated[int | None, typer.Option(help="Walks through each user's rows; 2 (shots + 1).")] = None,
    persona: Annotated[
        str, typer.Option(help="none; teacher: the user's description in the prompt; cot: before the answers.")
    ] = "none",
    persona_column: Annotated[str, typer.Option(help="The column with descriptions.")] = "persona",
    rejected_too: Annotated[bool, typer.Option(help="Show the other answer of each shot too.")] = True,
    test_users: Annotated[float, typer.Option(help="Share of the users that only test.jsonl has.")] = 0.0,
    seed: Seed = 0,
    split: Split = "train",
    format_: Format = "auto",
    option: FormatOptions = [],  # noqa: B006
) -> None:
    """Put a user's other judgements into each prompt: train.jsonl, and test.jsonl of users that it does not have."""
    from diffalign.data.transforms import fewshot as transform
    from diffalign.data.transforms import split_users

    found, lines = opened(source, output / "train.jsonl", split=split, format=format_, option=option)
    parts = {"train": lines}
    if test_users:
        parts["train"], parts["test"] = split_users(lines, group_by, test_users, seed)  # type: ignore[assignment]
    settings = {"shots": shots, "group_by": group_by, "persona": persona, "persona_column": persona_column}
    for name, part in parts.items():
        walks = passes if name == "train" else 1
        made = transform(part, passes=walks, rejected_too=rejected_too, seed=seed, **settings)  # type: ignore[arg-type]
        saved(f"fewshot {name}", found, made, output / f"{name}.jsonl")


def _refuse_lists(found: PairSet, source: str) -> None:
    if found.format == "ranked":
        raise UserError(
            "ranked lists have their order from their scores, so no label can be turned round there. Make pairs of "
            f"them first: diffalign data curriculum {source} --key score --stages 1 --output FOLDER"
        )


def _pairs_of(given: list[str], option: str, example: str) -> dict[str, str]:
    values = dict(text.partition("=")[::2] for text in given)
    if not all(values.values()):
        raise UserError(f"{option} takes NAME=VALUE, such as {example}.")
    return values
