"""`diffalign generate` and `diffalign compare`: samples of a model, with or without an adapter."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from diffalign.cli.app import app
from diffalign.cli.key_value_settings import Model
from diffalign.errors import UserError

ModelPath = Annotated[str, typer.Option("--model", help="A folder of diffusers or transformers, or a Hub id.")]
Kind = Annotated[
    str, typer.Option(help="image or text. Without: what the model's folder looks like; of a Hub id image.")
]
ModelSettings = Annotated[
    list[str], typer.Option("--model-setting", metavar="KEY=VALUE", help="As in a recipe's model section. Repeatable.")
]
Settings = Annotated[
    list[str],
    typer.Option(
        "--setting", metavar="KEY=VALUE", help="A sampling setting of the model's kind, as in a recipe. Repeatable."
    ),
]
Adapter = Annotated[str, typer.Option(help="An adapter file or folder made by `diffalign train`.")]
Prompts = Annotated[list[str], typer.Option("--prompt", help="A prompt, or @FILE with one prompt a line. Repeatable.")]
Seeds = Annotated[int, typer.Option(help="Samples per prompt: seeds 0, 1, ...")]
Steps = Annotated[int | None, typer.Option(help="Of an image model: short for --setting steps=.")]
Guidance = Annotated[float | None, typer.Option(help="Of an image model: short for --setting guidance=.")]
Batch = Annotated[int, typer.Option(help="Samples made at once; it does not change them.")]

FEW = 8
"""So many samples are also shown in the terminal, where it can show them."""


@app.command()
def generate(
    model: ModelPath,
    output: Annotated[Path, typer.Option(help="Folder for the samples and their metadata.jsonl.")],
    prompt: Prompts,
    adapter: Adapter = "",
    seeds: Seeds = 1,
    setting: Settings = [],  # noqa: B006  (typer reads it, nobody changes it)
    steps: Steps = None,
    guidance: Guidance = None,
    batch: Batch = 8,
    kind: Kind = "",
    model_setting: ModelSettings = [],  # noqa: B006
) -> None:
    """Generate images or texts; a killed command goes on where it stopped."""
    from diffalign.evaluation.samples.generate import generate as generate_samples
    from diffalign.evaluation.samples.medium import find_medium
    from diffalign.evaluation.samples.prompts import read_prompts

    prompts, named = read_prompts(prompt), Model.named(model, kind, model_setting, adapter)
    settings = named.sampling(setting, steps=steps, guidance=guidance)
    made = generate_samples(
        named.open(), prompts, range(seeds), output, batch_size=batch, progress=show_progress, **settings
    )
    medium = find_medium(made.medium)
    if medium.line is not None and len(made.samples) <= FEW:
        for sample, content in zip(made.samples, made.contents(), strict=True):
            typer.echo(f"[{sample.prompt} | seed {sample.seed}]\n{medium.line(content)}\n")
    typer.echo(f"{len(made.samples)} {medium.plural} in {made.folder}")


@app.command()
def compare(
    output: Annotated[Path, typer.Option(help="Folder for report.html, the samples and comparison.json.")],
    model: ModelPath = "",
    adapter: Adapter = "",
    prompt: Prompts = [],  # noqa: B006  (typer reads it, nobody changes it)
    scorer: Annotated[list[str], typer.Option("--scorer", help="A held-out judge. Repeatable.")] = [],  # noqa: B006
    trained_on: Annotated[
        list[str], typer.Option("--trained-on", help="A judge that made the training pairs: shown apart. Repeatable.")
    ] = [],  # noqa: B006
    base: Annotated[str, typer.Option(help="Instead of a model: a folder of the base's samples.")] = "",
    aligned: Annotated[str, typer.Option(help="... and one of the aligned model's.")] = "",
    seeds: Seeds = 1,
    setting: Settings = [],  # noqa: B006  (typer reads it, nobody changes it)
    steps: Steps = None,
    guidance: Guidance = None,
    batch: Batch = 8,
    kind: Kind = "",
    model_setting: ModelSettings = [],  # noqa: B006
) -> None:
    """Compare an aligned model with its base on the same prompts and seeds: win rates with intervals, one report."""
    from diffalign.evaluation.compare.judges import check_judges, load_judges
    from diffalign.evaluation.compare.run import add_drift, compare_galleries
    from diffalign.evaluation.compare.run import compare as compare_models
    from diffalign.evaluation.report.verdict import verdict_of
    from diffalign.evaluation.report.write import write_report
    from diffalign.evaluation.samples.prompts import read_prompts

    folders, models = bool(base and aligned), bool(model and adapter and prompt)
    if folders == models:
        raise UserError(
            "give --model, --adapter and --prompt (or @FILE), or else two folders with --base and --aligned"
        )
    if not (scorer or trained_on):
        raise UserError("a comparison needs a judge. Type for example: --scorer clip")
    if models:  # what is wrong with these is told before judges and models are loaded
        prompts, named = read_prompts(prompt), Model.named(model, kind, model_setting, adapter)
        settings = named.sampling(setting, steps=steps, guidance=guidance)
    judges = load_judges(scorer, trained_on)
    if folders:
        comparison = compare_galleries(Path(base), Path(aligned), judges, folder=output)
    else:
        check_judges(judges, prompts, named.row.medium)
        policy = named.open()
        comparison = compare_models(
            policy,
            prompts,
            range(seeds),
            judges,
            folder=output,
            batch_size=batch,
            progress=show_progress,
            **settings,
        )
        comparison, why = add_drift(comparison, policy, output, batch=batch)
        if why:
            typer.echo(f"warning: {why}")
    verdict = verdict_of(comparison)
    for line in (verdict.headline, *verdict.sentences):
        typer.echo(line)
    typer.echo(f"report: {write_report(output, comparison=comparison)}")


def show_progress(what: str, done: int, total: int) -> None:
    """A line that counts, where somebody watches."""
    if sys.stderr.isatty():
        print(f"\r{what}: {done} of {total}", end="\n" if done == total else "", file=sys.stderr, flush=True)
