"""`diffalign data make` and `rationales`: data that a model generates."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from diffalign.cli.app import data_app
from diffalign.cli.data.open_and_save import open_source, save_result
from diffalign.cli.key_value_settings import Model
from diffalign.cli.options import (
    Adapter,
    Format,
    FormatOptions,
    Guidance,
    Kind,
    ModelPath,
    ModelSettings,
    OutputFile,
    Prompts,
    SamplingSettings,
    Seed,
    Source,
    Split,
    Steps,
)
from diffalign.cli.progress_line import show_progress
from diffalign.errors import UserError


@data_app.command("make")
def make(
    model: ModelPath,
    prompt: Prompts,
    scorer: Annotated[
        list[str],
        typer.Option(help="The judge of the answers, NAME or NAME:ARGUMENT. Several are normalised and added."),
    ],
    output: Annotated[Path, typer.Option(help="Folder for the answers, pairs.jsonl and lists.jsonl.")],
    pairing: Annotated[
        str, typer.Option(help="Which answers become pairs: best_worst, all, threshold, rejection, tournament or list.")
    ] = "best_worst",
    by: Annotated[
        str, typer.Option(help="Judged by scores or by comparisons of two answers; auto: scores where there are any.")
    ] = "auto",
    weight: Annotated[
        list[str], typer.Option(help="SCORER=NUMBER, a judge's weight in the sum; 1 without. Repeatable.")
    ] = [],  # noqa: B006  (typer reads the default and nothing changes it)
    normalise: Annotated[
        str, typer.Option(help="How several judges are normalised over all answers: z-score or min-max.")
    ] = "z-score",
    answers: Annotated[int, typer.Option(help="Answers per prompt, each with its own noise.")] = 4,
    gap: Annotated[float, typer.Option(help="Smallest difference of the two scores (or win rates) of a pair.")] = 0.0,
    threshold: Annotated[
        float | None, typer.Option(help="Score that a good answer has at least, for --pairing threshold.")
    ] = None,
    beta: Annotated[
        float, typer.Option(help="Temperature of --pairing rejection, in the unit of the scores; 0 keeps the best.")
    ] = 0.5,
    keep: Annotated[int, typer.Option(help="Answers that --pairing rejection keeps of --answers.")] = 8,
    seed: Annotated[int, typer.Option(help="Seed of the first answer, and of the draws of pairings.")] = 0,
    adapter: Adapter = "",
    setting: SamplingSettings = [],  # noqa: B006  (typer reads the default and nothing changes it)
    steps: Steps = None,
    guidance: Guidance = None,
    batch: Annotated[int, typer.Option(help="Answers generated at once; it does not change them.")] = 8,
    latents: Annotated[
        bool, typer.Option("--latents", help="Keep the latents of images or clips too, for data.latents of a recipe.")
    ] = False,
    kind: Kind = "",
    model_setting: ModelSettings = [],  # noqa: B006
) -> None:
    """Generate several answers per prompt, have them judged, and write pairs and ranked lists of them.

    Each side of a pair has its score, its win rate and its advantage (the score centred over its prompt's answers). An
    interrupted command resumes; `accelerate launch -m diffalign data make ...` shares the work among processes.
    """
    from diffalign.devices.processes import launched_processes
    from diffalign.evaluation.samples.prompts import read_categories, read_prompts
    from diffalign.files.folder_lock import FolderLock
    from diffalign.pairs.making.make_pairs import make_pairs
    from diffalign.pairs.making.pairings import PairingSettings, check_pairing
    from diffalign.scorers import check_companions, load_scorer

    check_companions(scorer)
    check_pairing(pairing, PairingSettings(gap, threshold, beta, keep))
    weights = _parse_weights(weight, scorer)
    prompts, chosen_model = read_prompts(prompt), Model.from_options(model, kind, model_setting, adapter)
    settings = chosen_model.sampling(setting, steps=steps, guidance=guidance)
    processes = launched_processes()
    with FolderLock(output) as lock:
        processes.from_main(lock.acquire)
        judges = [load_scorer(spec, processes.device()) for spec in scorer]
        # a judge's own name may say more than what was typed
        by_name = {judge.name: weights[spec] for judge, spec in zip(judges, scorer, strict=True) if spec in weights}
        options: dict[str, Any] = {"weights": by_name, "normalise": normalise, "pairing": pairing, "by": by}
        options |= {"threshold": threshold, "beta": beta, "keep": keep, "processes": processes}
        options |= {
            "answers": answers,
            "gap": gap,
            "seed": seed,
            "batch_size": batch,
            "keep_latents": latents,
            "categories": read_categories(prompt),
        }
        progress = show_progress if processes.is_main else None
        made = make_pairs(chosen_model.open(), prompts, judges, output, progress=progress, **options, **settings)
    if processes.is_main:
        typer.echo(made.summary())


def _parse_weights(options: Sequence[str], scorers: Sequence[str]) -> dict[str, float]:
    """Parses SCORER=NUMBER options; a scorer's own argument may contain an equals sign."""
    weights = {}
    for text in options:
        name, _, number = text.rpartition("=")
        if name not in scorers:
            raise UserError(
                f"--weight takes SCORER=NUMBER with a scorer that --scorer names, {' or '.join(scorers)}; got '{text}'."
            )
        try:
            weights[name] = float(number)
        except ValueError as error:
            raise UserError(f"--weight {name}= takes a number, such as 0.5; got '{number}'.") from error
    return weights


@data_app.command("rationales")
def rationales(
    source: Source,
    model: ModelPath,
    output: OutputFile,
    style: Annotated[
        str, typer.Option(help="general (a short reason) or specific (a detailed comparison).")
    ] = "general",
    setting: SamplingSettings = [],  # noqa: B006
    adapter: Adapter = "",
    batch: Annotated[int, typer.Option(help="Rationales generated at once; it does not change them.")] = 8,
    seed: Seed = 0,
    model_setting: ModelSettings = [],  # noqa: B006
    split: Split = "train",
    format_: Format = "auto",
    option: FormatOptions = [],  # noqa: B006
) -> None:
    """Generate, with a language model, the reason why the chosen answer is better.

    Writes the pairs with a column rationale, for the loss of that name.
    """
    from diffalign.pairs.generate_rationales import add_rationales

    chosen_model = Model.language(model, model_setting, adapter)
    set_names = {text.partition("=")[0].strip() for text in setting}
    defaults = {name: value for name, value in (("temperature", 0.0), ("max_new_tokens", 256)) if name not in set_names}
    settings = chosen_model.sampling(setting, **defaults)
    pair_set, rows = open_source(source, output, split=split, format=format_, option=option)
    options = {"style": style, "target": output, "batch": batch, "seed": seed, "progress": show_progress}
    progress_file, result = add_rationales(chosen_model.open(), rows, **options, **settings)  # type: ignore[arg-type]
    save_result("rationales", pair_set, result, output)
    progress_file.remove()
