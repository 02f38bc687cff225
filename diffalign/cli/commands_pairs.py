"""`diffalign data make`: pairs that a model makes itself, judged by a scorer."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from diffalign.cli.app import data_app
from diffalign.cli.commands_model import (
    Adapter,
    Batch,
    Guidance,
    Kind,
    ModelPath,
    ModelSettings,
    Prompts,
    Settings,
    Steps,
    show_progress,
)
from diffalign.cli.key_value_settings import Model


@data_app.command("make")
def make(
    model: ModelPath,
    prompt: Prompts,
    scorer: Annotated[str, typer.Option(help="What judges: NAME or NAME:ARGUMENT.")],
    output: Annotated[Path, typer.Option(help="Folder for the answers and pairs.jsonl.")],
    answers: Annotated[int, typer.Option(help="Answers per prompt, each with a noise of its own.")] = 4,
    gap: Annotated[float, typer.Option(help="Smallest difference of the two scores.")] = 0.0,
    seed: Annotated[int, typer.Option(help="Seed of the first answer.")] = 0,
    adapter: Adapter = "",
    setting: Settings = [],  # noqa: B006  (typer reads it, nobody changes it)
    steps: Steps = None,
    guidance: Guidance = None,
    batch: Batch = 8,
    kind: Kind = "",
    model_setting: ModelSettings = [],  # noqa: B006
) -> None:
    """Answer prompts several times, judge the answers, pair the best with the worst: a data set to train on."""
    from diffalign.devices.budget import best_device
    from diffalign.evaluation.samples.prompts import read_prompts
    from diffalign.pairs.best_worst import make_pairs
    from diffalign.scorers import load_scorer

    prompts, named = read_prompts(prompt), Model.named(model, kind, model_setting, adapter)
    settings = named.sampling(setting, steps=steps, guidance=guidance)
    judge = load_scorer(scorer, str(best_device()))
    options = {"answers": answers, "gap": gap, "seed": seed, "batch_size": batch, **settings}
    typer.echo(make_pairs(named.open(), prompts, judge, output, progress=show_progress, **options).summary())
