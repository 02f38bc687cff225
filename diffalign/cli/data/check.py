"""`diffalign data check`: a report on a data set before training."""

from __future__ import annotations

from typing import Annotated

import typer

from diffalign.cli.app import data_app
from diffalign.cli.options import Format, FormatOptions, ModelSettings, Source, Split, parse_format_options
from diffalign.errors import UserError


@data_app.command("check")
def check(
    source: Source,
    split: Split = "train",
    against: Annotated[str, typer.Option(help="Another data set; prompts that both share are reported.")] = "",
    against_split: Annotated[str, typer.Option(help="Split of the other data set.")] = "test",
    format_: Format = "auto",
    option: FormatOptions = [],  # noqa: B006  (typer reads the default and nothing changes it)
    resolution: Annotated[
        int, typer.Option(help="Resolution in pixels below which images are reported; 0 disables it.")
    ] = 0,
    model: Annotated[
        str, typer.Option(help="An image model; the noise of its inverted latents of these images is measured.")
    ] = "",
    method: Annotated[
        list[str],
        typer.Option(help="Method whose latents --model measures; by default ddim_inpo and smpo. Repeatable."),
    ] = [],  # noqa: B006
    inversion: Annotated[
        list[str],
        typer.Option(
            help="Inversion that --model measures, NAME or NAME,KEY=VALUE,...: renoise,corrections=4. Repeatable."
        ),
    ] = [],  # noqa: B006
    kept_latents: Annotated[
        str, typer.Option(help="File of kept latents that --model measures instead of the images, as data.latents.")
    ] = "",
    model_pairs: Annotated[int, typer.Option(help="Number of pairs that --model measures.", min=1)] = 8,
    model_setting: ModelSettings = [],  # noqa: B006
    strict: Annotated[bool, typer.Option("--strict", help="Fail on warnings too.")] = False,
) -> None:
    """Report ties, unreadable files, duplicates, sizes, leaks, and the rows that will be dropped with their reasons.

    With --model also how much noise the latents hold that an inverting method would train on.
    """
    from rich.console import Console

    from diffalign.data.check.run import check_pairs
    from diffalign.data.readers import read_pairs

    if not model and (method or inversion or kept_latents or model_setting):
        raise UserError(
            "--method, --inversion, --kept-latents and --model-setting say what --model measures. Type: --model FOLDER"
        )
    pairs = read_pairs(source, format=format_, split=split, **parse_format_options(option))
    other_pairs = read_pairs(against, split=against_split) if against else None
    report = check_pairs(pairs, against=other_pairs, resolution=resolution or None)
    if model:
        from diffalign.cli.data.latent_noise import add_latent_noise, chosen_latents

        choices = chosen_latents(method, inversion)
        report = add_latent_noise(report, pairs, model, model_setting, choices, model_pairs, kept_latents)
    Console().print(report)
    raise typer.Exit(report.exit_code(strict=strict))
