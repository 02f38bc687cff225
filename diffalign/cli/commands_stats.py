"""`diffalign stats`: numbers of comparisons and of judges that were made before, without a model or a judge."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from diffalign.cli.app import app
from diffalign.cli.options import Format, FormatOptions, Source, Split, parse_format_options
from diffalign.errors import UserError

if TYPE_CHECKING:
    from diffalign.evaluation.compare.result import Comparison

stats_app = typer.Typer(help="Statistics of comparisons and judges: no model is loaded.", no_args_is_help=True)
app.add_typer(stats_app, name="stats")

Comparisons = Annotated[
    list[Path], typer.Argument(help="Folders of `diffalign compare` or runs, or their comparison.json.")
]
Tables = Annotated[list[Path], typer.Argument(help="Files that `diffalign score` wrote for pairs.")]


@stats_app.command("judges")
def judges(comparison: Annotated[Path, typer.Argument(help="A folder of `diffalign compare` or a run.")]) -> None:
    """Print sizes, exact tests and the agreement of the judges of one comparison, as in the report."""
    from diffalign.evaluation.analysis.judge_details import judge_details
    from diffalign.evaluation.analysis.judges_together import judges_together

    loaded = _load(comparison)
    for detail in judge_details(loaded):
        typer.echo(str(detail))
    together = judges_together(loaded)
    for line in together.lines() if together is not None else []:
        typer.echo(line)


@stats_app.command("pool")
def pool(comparisons: Comparisons) -> None:
    """Pool the comparisons of several trainings of one method: win rates with intervals for another seed and prompt."""
    from diffalign.evaluation.analysis.pool_comparisons import pool_comparisons

    if len({path.resolve() for path in comparisons}) < max(2, len(comparisons)):
        raise UserError(
            "pooling needs the comparisons of two trainings or more, of different seeds, each once. Three is usual."
        )
    for judge in pool_comparisons([_load(path) for path in comparisons]):
        typer.echo(str(judge))


@stats_app.command("tradeoffs")
def tradeoffs(comparisons: Comparisons) -> None:
    """Place several models by all held-out judges at once: who is on the Pareto front, and what the front offers."""
    from diffalign.evaluation.analysis.trade_offs import comparison_trade_offs

    if len({path.resolve() for path in comparisons}) < max(2, len(comparisons)):
        raise UserError("trade-offs need the comparisons of two models or more, each with the same base, each once.")
    found = comparison_trade_offs({str(path): _load(path) for path in comparisons})
    for name, gains, on_front in found.rows():
        values = ", ".join(f"{judge} {gain:+.3g}" for judge, gain in zip(found.judges, gains, strict=True))
        typer.echo(f"{name}: {values}{'  (on the front)' if on_front else ''}")
    typer.echo(
        f"in standard deviations of the base: hypervolume {found.hypervolume:.3g}, expected utility "
        f"{found.utility:.3g}, sparsity {found.sparsity:.3g}"
    )


@stats_app.command("votes")
def votes(
    source: Source,
    scores: Annotated[
        list[Path], typer.Option("--scores", help="A file that `diffalign score` wrote for these pairs. Repeatable.")
    ],
    split: Split = "train",
    format_: Format = "auto",
    option: FormatOptions = [],  # noqa: B006  (typer reads the default and nothing changes it)
) -> None:
    """Compare judges with people: how often each agrees with the votes of the pairs, and the judges with each other."""
    from diffalign.data.readers import read_pairs
    from diffalign.data.records.score_table import read_scores
    from diffalign.evaluation.analysis.judges_and_people import judges_and_people

    pairs = read_pairs(source, format=format_, split=split, **parse_format_options(option))
    for line in judges_and_people(pairs, [read_scores(path) for path in scores]).lines():
        typer.echo(line)


@stats_app.command("ensemble")
def ensemble(
    scores: Tables,
    output: Annotated[Path, typer.Option(help="The .yaml file to write.")],
    combine: Annotated[str, typer.Option(help="sum, mean, worst, mean_minus_std or mean_minus_variance.")] = "mean",
    k: Annotated[float, typer.Option(help="What disagreement costs, in the last two.")] = 1.0,
) -> None:
    """Write the file of an ensemble: the mean and the deviation of each scorer over these scores."""
    from diffalign.data.records.score_table import ROLES, read_scores
    from diffalign.files.atomic import write_atomically
    from diffalign.scorers.composed.combine_scores import WAYS
    from diffalign.scorers.composed.declare_members import declare_members

    if combine not in WAYS:
        raise UserError(f"--combine is one of {', '.join(WAYS)}; got '{combine}'.")
    tables = [read_scores(path) for path in scores]
    columns = {table.scorer: [score for row in table.rows.values() for score in row] for table in tables}
    if len(columns) < len(tables):
        raise UserError("two of the files hold scores of one scorer. Give one file for each.")
    if any(table.roles != ROLES for table in tables):
        raise UserError("a file holds numbers of pairs instead of scores of both candidates. Leave it out.")
    if other := next((table for table in tables if table.rows.keys() != tables[0].rows.keys()), None):
        raise UserError(
            f"{tables[0].path} and {other.path} hold scores of different pairs, so their means and deviations would "
            "not be of one set. Score the same pairs with each."
        )
    text = declare_members(columns, {table.scorer: table.unit for table in tables}, combine, k)  # type: ignore[arg-type]
    write_atomically(output, lambda temporary: temporary.write_text(text, encoding="utf-8"))
    typer.echo(f"{len(tables)} scorers in {output}. Use it as --scorer ensemble:{output}")


def _load(path: Path) -> Comparison:
    """Reads a comparison from its folder, from a run's or from its file."""
    from diffalign.evaluation.compare.result import Comparison

    places = [path, path / "comparison.json", path / "evaluation" / "comparison.json"]
    found = next((place for place in places if place.is_file()), None)
    if found is None:
        raise UserError(f"there is no comparison in '{path}'. Give a folder that `diffalign compare` wrote.")
    return Comparison.load(found)
