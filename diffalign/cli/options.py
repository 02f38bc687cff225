"""Command line options that several commands share."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from diffalign.errors import UserError

# Data sets
Source = Annotated[str, typer.Argument(help="A folder, a file or a Hub id with preference pairs.")]
OutputFile = Annotated[Path, typer.Option("--output", help="The .jsonl file to write.")]
OutputFolder = Annotated[Path, typer.Option("--output", help="The folder to write into.")]
Split = Annotated[str, typer.Option(help="Split of the source.")]
Format = Annotated[str, typer.Option("--format", help="Format of the source; auto detects it.")]
FormatOptions = Annotated[
    list[str], typer.Option("--option", help="NAME=VALUE, an option of the format as in data.options. Repeatable.")
]
ScoreFiles = Annotated[
    list[Path], typer.Option("--scores", help="A file that `diffalign score` wrote for these pairs. Repeatable.")
]
Seed = Annotated[int, typer.Option(help="Seed of random choices.")]

# Models and samples
ModelPath = Annotated[str, typer.Option("--model", help="A folder of diffusers or transformers, or a Hub id.")]
Kind = Annotated[
    str,
    typer.Option(help="Kind of the model: image, video or text; by default that of its folder, image for a Hub id."),
]
ModelSettings = Annotated[
    list[str], typer.Option("--model-setting", metavar="KEY=VALUE", help="As in a recipe's model section. Repeatable.")
]
Adapter = Annotated[str, typer.Option(help="An adapter file or folder made by `diffalign train`.")]
Prompts = Annotated[
    list[str],
    typer.Option("--prompt", help="A prompt, @FILE with one prompt per line, or @suite:NAME:FILE. Repeatable."),
]
SamplingSettings = Annotated[
    list[str],
    typer.Option(
        "--setting", metavar="KEY=VALUE", help="A sampling setting of the model's kind, as in a recipe. Repeatable."
    ),
]
Steps = Annotated[
    int | None, typer.Option(help="Sampling steps of an image or video model; short for --setting steps=.")
]
Guidance = Annotated[
    float | None, typer.Option(help="Guidance scale of an image or video model; short for --setting guidance=.")
]


def parse_format_options(options: Sequence[str]) -> dict[str, Any]:
    """Parses NAME=VALUE options of a format. Values are YAML, so ``columns={caption: text}`` is a mapping."""
    from diffalign.files.yaml_text import read_yaml

    parsed: dict[str, Any] = {}
    for text in options:
        name, equals, value = text.partition("=")
        if not equals:
            raise UserError(f"--option takes NAME=VALUE, such as ties=soft; got '{text}'.")
        parsed[name.strip()] = read_yaml(value, f"the value of --option {name.strip()}")
    return parsed


def parse_names_and_values(options: Sequence[str], option: str, example: str) -> dict[str, str]:
    """Parses NAME=VALUE options. Raises UserError for an option without a value."""
    values = dict(text.partition("=")[::2] for text in options)
    if not all(values.values()):
        raise UserError(f"{option} takes NAME=VALUE, such as {example}.")
    return values
