"""`diffalign score` scores pairs or single samples; `diffalign tokens` writes the rewards of tokens."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from diffalign.cli.app import app
from diffalign.cli.key_value_settings import Model
from diffalign.cli.options import Format, FormatOptions, ModelPath, ModelSettings, Source, Split, parse_format_options
from diffalign.cli.progress_line import show_progress
from diffalign.errors import UserError


@app.command()
def score(
    source: Annotated[str, typer.Argument(help="Pairs (a folder, a file or a Hub id), or a folder of single samples.")],
    scorer: Annotated[
        list[str],
        typer.Option("--scorer", help="NAME or NAME:ARGUMENT, e.g. clip:openai/clip-vit-large-patch14, sentiment."),
    ],
    output: Annotated[
        Path | None, typer.Option(help="File for the scores of pairs; by default SOURCE/scores/SCORER.jsonl.")
    ] = None,
    split: Annotated[str, typer.Option(help="Split of the pairs.")] = "train",
    format_: Format = "auto",
    option: FormatOptions = [],  # noqa: B006  (typer reads the default and nothing changes it)
    batch: Annotated[int, typer.Option(help="Pairs scored at once; it does not change the scores.")] = 16,
    device: Annotated[
        str, typer.Option(help="Device of the scorers: cpu, cuda, cuda:1; by default the GPU if there is one.")
    ] = "",
) -> None:
    """Score pairs, or single images, clips and texts, against their prompts.

    For pairs, both candidates are scored and each scorer gets its own file, which a recipe names under data.scores. An
    interrupted command resumes where it stopped. For a folder of single images or texts with metadata.jsonl (prompt and
    file_name, or prompt and completion), as `diffalign generate` writes it, the scores are added to that file.
    """
    import torch

    from diffalign.data.readers import read_pairs
    from diffalign.evaluation.samples.score_folder import is_sample_folder, score_folder
    from diffalign.evaluation.samples.score_pairs import score_pairs, summary_lines
    from diffalign.scorers import check_companions
    from diffalign.training.report.progress import ProgressReport

    check_companions(scorer)
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    if is_sample_folder(source):
        if output is not None:
            raise UserError(f"'{source}' holds single samples: their scores go into its metadata.jsonl, not --output.")
        for line in score_folder(Path(source).expanduser(), scorer, device):
            typer.echo(line)
        return
    if output is not None and len(scorer) > 1:
        raise UserError("--output is the file of one scorer. Run one command per scorer, or leave --output out.")
    if output is not None and output.is_dir():
        raise UserError(
            f"--output is the file to write, but '{output}' is a folder. Name a file in it, or leave it out."
        )
    pairs = read_pairs(source, format=format_, split=split, **parse_format_options(option))
    typer.echo(pairs.summary())
    with ProgressReport(0) as report:
        for spec in scorer:
            table = score_pairs(pairs, spec, output, split=split, batch=batch, device=device, progress=report.preparing)
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
