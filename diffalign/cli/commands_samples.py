"""`diffalign generate` and `diffalign compare`: samples of a model, and their comparison with those of its base."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from diffalign.cli.app import app
from diffalign.cli.key_value_settings import Model
from diffalign.cli.options import (
    Adapter,
    Guidance,
    Kind,
    ModelPath,
    ModelSettings,
    Prompts,
    SamplingSettings,
    Steps,
)
from diffalign.cli.progress_line import show_progress
from diffalign.errors import UserError

Seeds = Annotated[int, typer.Option(help="Number of samples per prompt, with seeds 0, 1, ...")]
Batch = Annotated[int, typer.Option(help="Samples generated at once; it does not change them.")]

MAX_PRINTED = 8
"""Largest number of samples that `generate` also prints, if a terminal can show them."""


@app.command()
def generate(
    model: ModelPath,
    output: Annotated[Path, typer.Option(help="Folder for the samples and their metadata.jsonl.")],
    prompt: Prompts,
    adapter: Adapter = "",
    seeds: Seeds = 1,
    setting: SamplingSettings = [],  # noqa: B006  (typer reads the default and nothing changes it)
    steps: Steps = None,
    guidance: Guidance = None,
    batch: Batch = 8,
    kind: Kind = "",
    model_setting: ModelSettings = [],  # noqa: B006
) -> None:
    """Generate images, clips or texts into a folder with metadata.jsonl; an interrupted command resumes."""
    from diffalign.evaluation.samples.generate import generate as generate_samples
    from diffalign.evaluation.samples.medium import find_medium
    from diffalign.evaluation.samples.prompts import read_categories, read_prompts
    from diffalign.files.folder_lock import FolderLock

    prompts, chosen_model = read_prompts(prompt), Model.from_options(model, kind, model_setting, adapter)
    settings = chosen_model.sampling(setting, steps=steps, guidance=guidance)
    with FolderLock(output) as lock:
        lock.acquire()
        gallery = generate_samples(
            chosen_model.open(),
            prompts,
            range(seeds),
            output,
            batch_size=batch,
            categories=read_categories(prompt),
            progress=show_progress,
            **settings,
        )
    medium = find_medium(gallery.medium)
    if medium.line is not None and len(gallery.samples) <= MAX_PRINTED:
        for sample, content in zip(gallery.samples, gallery.contents(), strict=True):
            typer.echo(f"[{sample.prompt} | seed {sample.seed}]\n{medium.line(content)}\n")
    typer.echo(f"{medium.count(len(gallery.samples))} in {gallery.folder}")


@app.command()
def compare(
    output: Annotated[Path, typer.Option(help="Folder for report.html, the samples and comparison.json.")],
    model: ModelPath = "",
    adapter: Adapter = "",
    prompt: Prompts = [],  # noqa: B006
    scorer: Annotated[list[str], typer.Option("--scorer", help="A held-out judge. Repeatable.")] = [],  # noqa: B006
    trained_on: Annotated[
        list[str], typer.Option("--trained-on", help="A judge that made the training pairs. Repeatable.")
    ] = [],  # noqa: B006
    base: Annotated[str, typer.Option(help="Folder of the base's samples, instead of a model.")] = "",
    aligned: Annotated[str, typer.Option(help="Folder of the aligned model's samples, with --base.")] = "",
    seeds: Seeds = 1,
    setting: SamplingSettings = [],  # noqa: B006
    steps: Steps = None,
    guidance: Guidance = None,
    batch: Batch = 8,
    kind: Kind = "",
    model_setting: ModelSettings = [],  # noqa: B006
) -> None:
    """Compare an aligned model with its base on the same prompts and seeds, and write win rates into report.html."""
    from diffalign.evaluation.compare.by_category import category_lines
    from diffalign.evaluation.compare.load_judges import check_judges, load_judges
    from diffalign.evaluation.compare.run import add_drift, compare_galleries
    from diffalign.evaluation.compare.run import compare as compare_models
    from diffalign.evaluation.report.verdict import verdict_of
    from diffalign.evaluation.report.write import write_report
    from diffalign.evaluation.samples.prompts import read_categories, read_prompts
    from diffalign.files.folder_lock import FolderLock

    has_folders, has_model = bool(base and aligned), bool(model and adapter and prompt)
    if has_folders == has_model:
        raise UserError("give either --model, --adapter and --prompt (or @FILE), or two folders: --base and --aligned")
    if not (scorer or trained_on):
        raise UserError("a comparison needs a judge. Type for example: --scorer clip")
    if has_model:  # errors in these options are raised before judges and models are loaded
        prompts, chosen_model = read_prompts(prompt), Model.from_options(model, kind, model_setting, adapter)
        categories = read_categories(prompt)
        settings = chosen_model.sampling(setting, steps=steps, guidance=guidance)
    with FolderLock(output) as lock:
        lock.acquire()
        judges = load_judges(scorer, trained_on)
        if has_folders:
            comparison = compare_galleries(Path(base), Path(aligned), judges, folder=output)
        else:
            check_judges(judges, prompts, chosen_model.kind.medium)
            policy = chosen_model.open()
            comparison = compare_models(
                policy,
                prompts,
                range(seeds),
                judges,
                folder=output,
                batch_size=batch,
                categories=categories,
                progress=show_progress,
                **settings,
            )
            comparison, reason = add_drift(comparison, policy, output, batch=batch)
            if reason:
                typer.echo(f"warning: {reason}")
        verdict = verdict_of(comparison)
        for line in (verdict.headline, *verdict.sentences, *category_lines(comparison)):
            typer.echo(line)
        typer.echo(f"report: {write_report(output, comparison=comparison)}")
