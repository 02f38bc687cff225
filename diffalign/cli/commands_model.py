"""`diffalign generate` and `diffalign compare`: pictures of a model, with or without an adapter."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from diffalign.cli.app import app
from diffalign.errors import UserError

Model = Annotated[str, typer.Option(help="A diffusers folder or a Hub id.")]
Adapter = Annotated[str, typer.Option(help="An adapter file or folder made by `diffalign train`.")]
Prompts = Annotated[list[str], typer.Option("--prompt", help="A prompt, or @FILE with one prompt a line. Repeatable.")]
Seeds = Annotated[int, typer.Option(help="Pictures per prompt: seeds 0, 1, ...")]
Steps = Annotated[int, typer.Option(help="Denoising steps.")]
Guidance = Annotated[float, typer.Option(help="Classifier-free guidance scale.")]
Batch = Annotated[int, typer.Option(help="Pictures made at once; it does not change them.")]


@app.command()
def generate(
    model: Model,
    output: Annotated[Path, typer.Option(help="Folder for the pictures and their metadata.jsonl.")],
    prompt: Prompts,
    adapter: Adapter = "",
    seeds: Seeds = 1,
    steps: Steps = 30,
    guidance: Guidance = 5.0,
    batch: Batch = 8,
) -> None:
    """Generate pictures; a killed command goes on where it stopped."""
    from diffalign.evaluation.generate import generate as generate_pictures
    from diffalign.evaluation.prompts import read_prompts

    prompts = read_prompts(prompt)
    settings: dict[str, Any] = {"batch_size": batch, "steps": steps, "guidance": guidance}
    made = generate_pictures(_policy(model, adapter), prompts, range(seeds), output, progress=_progress, **settings)
    typer.echo(f"{len(made.pictures)} pictures in {made.folder}")


@app.command()
def compare(
    output: Annotated[Path, typer.Option(help="Folder for report.html, the pictures and comparison.json.")],
    model: Model = "",
    adapter: Adapter = "",
    prompt: Prompts = [],  # noqa: B006  (typer reads it, nobody changes it)
    scorer: Annotated[list[str], typer.Option("--scorer", help="A held-out judge. Repeatable.")] = [],  # noqa: B006
    trained_on: Annotated[
        list[str], typer.Option("--trained-on", help="A judge that made the training pairs: shown apart. Repeatable.")
    ] = [],  # noqa: B006
    base: Annotated[str, typer.Option(help="Instead of a model: a folder of the base's pictures.")] = "",
    aligned: Annotated[str, typer.Option(help="... and one of the aligned model's.")] = "",
    seeds: Seeds = 1,
    steps: Steps = 30,
    guidance: Guidance = 5.0,
    batch: Batch = 8,
) -> None:
    """Compare an aligned model with its base on the same prompts and seeds: win rates with intervals, one report."""
    from diffalign.evaluation.compare import compare as compare_models
    from diffalign.evaluation.compare import compare_galleries
    from diffalign.evaluation.judges import load_judges
    from diffalign.evaluation.prompts import read_prompts
    from diffalign.evaluation.report import write_report
    from diffalign.evaluation.verdict import judge

    folders, models = bool(base and aligned), bool(model and adapter and prompt)
    if folders == models:
        raise UserError(
            "give --model, --adapter and --prompt (or @FILE), or else two folders with --base and --aligned"
        )
    if not (scorer or trained_on):
        raise UserError("a comparison needs a judge. Type for example: --scorer clip")
    judges = load_judges(scorer, trained_on)
    if folders:
        comparison = compare_galleries(Path(base), Path(aligned), judges, folder=output)
    else:
        settings: dict[str, Any] = {"batch_size": batch, "steps": steps, "guidance": guidance}
        comparison = compare_models(
            _policy(model, adapter),
            read_prompts(prompt),
            range(seeds),
            judges,
            folder=output,
            progress=_progress,
            **settings,
        )
    verdict = judge(comparison)
    for line in (verdict.headline, *verdict.sentences):
        typer.echo(line)
    typer.echo(f"report: {write_report(output, comparison=comparison)}")


def _policy(model: str, adapter: str) -> Any:
    from diffalign.policies.diffusion.load import ModelConfig, load_aligned, load_policy

    config = ModelConfig(path=model)
    return load_aligned(config, Path(adapter)) if adapter else load_policy(config)


def _progress(what: str, done: int, total: int) -> None:
    if sys.stderr.isatty():
        print(f"\r{what}: {done} of {total}", end="\n" if done == total else "", file=sys.stderr, flush=True)
