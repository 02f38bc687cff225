"""`diffalign data prompt-pairs` and `fewshot`: data sets with new prompts."""

from __future__ import annotations

from typing import Annotated

import typer

from diffalign.cli.app import data_app
from diffalign.cli.data.open_and_save import open_source, save_result
from diffalign.cli.options import Format, FormatOptions, OutputFolder, Seed, Source, Split


@data_app.command("prompt-pairs")
def prompt_pairs(
    source: Source,
    output: OutputFolder,
    rule: Annotated[
        list[str], typer.Option(help="A rule to make instructions from; by default all rules. Repeatable.")
    ] = [],  # noqa: B006  (typer reads the default and nothing changes it)
    attribute: Annotated[
        list[str],
        typer.Option(help="Column with an attribute of the images, NAME or NAME='at the {}'. Repeatable."),
    ] = [],  # noqa: B006
    template: Annotated[
        str, typer.Option(help="Whole prompt of an image, such as '{count} {subject} on {colour}'.")
    ] = "",
    least: Annotated[int, typer.Option(help="Fewest instructions per prompt; 1 with attributes.")] = 2,
    most: Annotated[int, typer.Option(help="Most instructions per prompt.")] = 5,
    fits: Annotated[
        str, typer.Option(help="Instructions of the rejected prompt that the answer follows: some or none.")
    ] = "some",
    conflicting: Annotated[float, typer.Option(help="Share of augmented rows that favour the rejected answer.")] = 0.0,
    seed: Seed = 0,
    split: Split = "train",
    format_: Format = "auto",
    option: FormatOptions = [],  # noqa: B006
) -> None:
    """Write pairs of prompts with verifiable instructions.

    within.jsonl has one answer and two prompts per row; between.jsonl has two answers and two prompts.
    """
    from diffalign.data.transforms import between, within
    from diffalign.data.transforms.prompt_pairs import select_rules

    phrases = {name: phrase or "{}" for name, phrase in (text.partition("=")[::2] for text in attribute)}
    settings = {"rules": select_rules(rule, phrases), "most": most, "template": template, "seed": seed}
    settings["least"] = min(least, 1) if phrases else least
    pair_set, rows = open_source(source, output / "within.jsonl", split=split, format=format_, option=option)
    save_result("within", pair_set, within(rows, fits=fits, **settings), output / "within.jsonl")  # type: ignore[arg-type]
    save_result("between", pair_set, between(rows, conflicting=conflicting, **settings), output / "between.jsonl")  # type: ignore[arg-type]


@data_app.command("fewshot")
def fewshot(
    source: Source,
    output: OutputFolder,
    shots: Annotated[int, typer.Option(help="Judgements of the same user in each prompt.")] = 4,
    group_by: Annotated[str, typer.Option(help="Column with the user.")] = "group",
    passes: Annotated[int | None, typer.Option(help="Passes over each user's rows; by default 2 (shots + 1).")] = None,
    persona: Annotated[
        str,
        typer.Option(help="none, teacher (the user's description in the prompt) or cot (before the answers)."),
    ] = "none",
    persona_column: Annotated[str, typer.Option(help="Column with the user's description.")] = "persona",
    rejected_too: Annotated[bool, typer.Option(help="Show the rejected answer of each shot as well.")] = True,
    test_users: Annotated[float, typer.Option(help="Share of the users for test.jsonl.")] = 0.0,
    seed: Seed = 0,
    split: Split = "train",
    format_: Format = "auto",
    option: FormatOptions = [],  # noqa: B006
) -> None:
    """Add other judgements of the same user to each prompt, and write train.jsonl, and test.jsonl of other users."""
    from diffalign.data.transforms import fewshot as transform
    from diffalign.data.transforms import split_users

    pair_set, rows = open_source(source, output / "train.jsonl", split=split, format=format_, option=option)
    parts = {"train": rows}
    if test_users:
        parts["train"], parts["test"] = split_users(rows, group_by, test_users, seed)  # type: ignore[assignment]
    settings = {"shots": shots, "group_by": group_by, "persona": persona, "persona_column": persona_column}
    for name, part in parts.items():
        part_passes = passes if name == "train" else 1
        result = transform(part, passes=part_passes, rejected_too=rejected_too, seed=seed, **settings)  # type: ignore[arg-type]
        save_result(f"fewshot {name}", pair_set, result, output / f"{name}.jsonl")
