"""`diffalign score` scores pairs or single samples; `diffalign tokens` writes the rewards of tokens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from diffalign.cli.app import app
from diffalign.cli.key_value_settings import Model
from diffalign.cli.options import (
    Adapter,
    Format,
    FormatOptions,
    Guidance,
    Kind,
    ModelPath,
    ModelSettings,
    SamplingSettings,
    Source,
    Split,
    Steps,
    parse_format_options,
)
from diffalign.cli.progress_line import show_progress
from diffalign.errors import UserError

if TYPE_CHECKING:
    from diffalign.devices.processes import Processes
    from diffalign.evaluation.scoring.score_examples import Progress


@app.command()
def score(
    scorer: Annotated[
        list[str],
        typer.Option("--scorer", help="NAME or NAME:ARGUMENT, e.g. clip:openai/clip-vit-large-patch14. Repeatable."),
    ],
    source: Annotated[
        str,
        typer.Argument(help="Pairs or samples: a folder, a table or a Hub id. With --model the samples' folder."),
    ] = "",
    output: Annotated[
        Path | None,
        typer.Option(
            help="File for the scores; by default next to the data: SOURCE/scores/SCORER.jsonl for pairs, "
            "SOURCE/scores/samples.jsonl for samples (or .csv, .parquet)."
        ),
    ] = None,
    prompt: Annotated[
        list[str],
        typer.Option(
            "--prompt",
            "--prompts",
            help="Prompts of --model, or of a folder of files: one for all, or one for each. @FILE for lines.",
        ),
    ] = [],  # noqa: B006  (typer reads the default and nothing changes it)
    split: Annotated[str, typer.Option(help="Split of the pairs.")] = "train",
    format_: Format = "auto",
    option: FormatOptions = [],  # noqa: B006
    batch: Annotated[
        int, typer.Option(help="Pairs or samples decoded and scored at once; it does not change the scores.")
    ] = 16,
    device: Annotated[
        str, typer.Option(help="Device of the scorers: cpu, cuda, cuda:1; by default the GPU if there is one.")
    ] = "",
    model: Annotated[str, typer.Option(help="Generate the samples with this model first, then score them.")] = "",
    adapter: Adapter = "",
    seeds: Annotated[int, typer.Option(help="Samples per prompt of --model, with seeds 0, 1, ...")] = 1,
    setting: SamplingSettings = [],  # noqa: B006
    steps: Steps = None,
    guidance: Guidance = None,
    kind: Kind = "",
    model_setting: ModelSettings = [],  # noqa: B006
) -> None:
    """Score pairs, single images, clips or texts, or what a model makes of prompts; several scorers in one pass.

    Of pairs both candidates are scored, and each scorer gets its own file, which a recipe names under data.scores. Of
    single samples (a folder with or without metadata.jsonl, or a table) all scores go into one table with a row per
    sample and scorer. Each sample is decoded once. An interrupted command resumes, a bad image is named at the end, and
    `accelerate launch -m diffalign score ...` shares the work among processes.
    """
    from diffalign.devices.processes import launched_processes
    from diffalign.evaluation.samples.prompts import read_prompts
    from diffalign.evaluation.scoring.sources import open_samples
    from diffalign.scorers import check_companions
    from diffalign.training.report.progress import ProgressReport

    check_companions(scorer)
    processes = launched_processes()
    prompts = read_prompts(prompt) if prompt else []
    if bool(model) and not (prompts and source):
        raise UserError(
            "--model generates samples of --prompt into a folder. Type: score FOLDER --model M --prompt @FILE"
        )
    if not source:
        raise UserError("there is nothing to score. Type: score SOURCE --scorer NAME")
    with ProgressReport(0, active=processes.is_main) as report:
        options = {"batch": batch, "device": processes.device(device), "processes": processes}
        options["progress"] = report.preparing
        if model:
            chosen_model = Model.from_options(model, kind, model_setting, adapter)
            settings = chosen_model.sampling(setting, steps=steps, guidance=guidance)
            _generate(chosen_model, prompts, seeds, Path(source).expanduser(), settings, processes, report.preparing)
        elif adapter or setting or model_setting or kind:
            raise UserError("--adapter, --setting, --model-setting and --kind belong to a model. Add: --model MODEL")
        parsed = parse_format_options(option)
        columns = {"columns": parsed["columns"]} if "columns" in parsed else {}
        samples = None
        if format_ in ("auto", "captioned", "unpaired"):
            samples = open_samples(source, () if model else prompts, split=split, **columns)
        if samples is None:
            _score_pairs(source, scorer, output, split, format_, parsed, options)
        else:
            _score_samples(samples, scorer, output, options)


def _generate(
    model: Model,
    prompts: Sequence[str],
    seeds: int,
    folder: Path,
    settings: Mapping[str, Any],
    processes: Processes,
    progress: Progress,
) -> None:
    from diffalign.evaluation.samples.generate import generate

    generate(model.open(), prompts, range(seeds), folder, processes=processes, progress=progress, **settings)


def _score_samples(samples: Any, scorer: Sequence[str], output: Path | None, options: Mapping[str, Any]) -> None:
    from diffalign.evaluation.scoring.score_samples import score_samples

    scores = score_samples(samples, scorer, output, **options)
    if options["processes"].is_main:
        for line in scores.lines:
            typer.echo(line)
        typer.echo(f"table: {scores.path}")
    scores.check()


def _score_pairs(
    source: str,
    scorer: Sequence[str],
    output: Path | None,
    split: str,
    format_: str,
    parsed: Mapping[str, Any],
    options: Mapping[str, Any],
) -> None:
    from diffalign.data.readers import read_pairs
    from diffalign.evaluation.scoring.score_pairs import score_pairs_in_one_pass, summary_lines

    if output is not None and len(scorer) > 1:
        raise UserError(
            "--output is the file of one scorer of pairs. Run one command per scorer, or leave --output out."
        )
    if output is not None and output.is_dir():
        raise UserError(
            f"--output is the file to write, but '{output}' is a folder. Name a file in it, or leave it out."
        )
    pairs = read_pairs(source, format=format_, split=split, **parsed)
    is_main = options["processes"].is_main
    if is_main:
        typer.echo(pairs.summary())
    paths = {} if output is None else {scorer[0]: output}
    for table in score_pairs_in_one_pass(pairs, scorer, paths, split=split, **options):
        if is_main:
            typer.echo(summary_lines(table))


@app.command("tokens")
def tokens(
    source: Source,
    model: ModelPath,
    adapter: Annotated[str, typer.Option(help="The aligned model's adapter.")],
    output: Annotated[Path, typer.Option(help="A page (.html) or a table (.jsonl) to write.")],
    beta: Annotated[float, typer.Option(help="The beta that the adapter was trained with.")] = 0.1,
    limit: Annotated[int, typer.Option(help="Number of pairs to read; 0 reads all.")] = 20,
    batch: Annotated[int, typer.Option(help="Pairs per forward pass; it does not change the numbers.")] = 8,
    model_setting: ModelSettings = [],  # noqa: B006
    split: Split = "train",
    format_: Format = "auto",
    option: FormatOptions = [],  # noqa: B006
) -> None:
    """Write the implicit reward of each token of given answers: beta times its log-ratio to the base.

    The output is a page with coloured tokens or a table, for an aligned language model.
    """
    from diffalign.data.readers import read_pairs
    from diffalign.evaluation.diagnosis.token_rewards import answer_rewards, write_token_rewards

    if output.suffix not in (".html", ".jsonl"):
        raise UserError(f"--output is a page, .html, or a table, .jsonl; got '{output.name}'.")
    if beta <= 0 or limit < 0:
        raise UserError("--beta must be above 0, and --limit 0 or more.")
    pair_set = read_pairs(source, format=format_, limit=limit or None, split=split, **parse_format_options(option))
    policy = Model.language(model, model_setting, adapter).open()
    rows = list(answer_rewards(policy, pair_set.pairs, beta=beta, batch=batch, progress=show_progress))
    write_token_rewards(output, rows, beta=beta)
    typer.echo(f"{len(rows):,} answers of {len(pair_set):,} rows in {output}")
