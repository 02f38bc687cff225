"""`diffalign train` and `diffalign demo`: alignment by a recipe."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from diffalign.cli.app import app
from diffalign.errors import UserError

Overrides = Annotated[
    list[str],
    typer.Option("--set", metavar="KEY=VALUE", help="Value of the recipe, e.g. --set train.steps=100. Repeatable."),
]


@app.command()
def train(
    recipe: Annotated[Path, typer.Argument(help="A YAML recipe; see configs/.")],
    set_: Overrides = [],  # noqa: B006  (typer reads the default and nothing changes it)
    resume: Annotated[
        bool, typer.Option("--resume", help="Resume from the last checkpoint in the output folder.")
    ] = False,
    check: Annotated[
        bool, typer.Option("--check", help="Check recipe, data and model, print the header, and stop.")
    ] = False,
) -> None:
    """Align a model by a recipe, compare it with its base if the recipe has prompts for it, and write report.html."""
    from diffalign.training.align import align
    from diffalign.training.recipe.load import load_recipe

    align(load_recipe(recipe, set_), resume=resume, check_only=check)


@app.command()
def demo(
    output: Annotated[Path, typer.Option(help="Folder for the adapter, the report and the samples.")] = Path(
        "runs/demo"
    ),
    seed: Annotated[int, typer.Option(help="Seed of the run and of the comparison.")] = 0,
    set_: Overrides = [],  # noqa: B006
) -> None:
    """Align the embedded model with its preference pairs and write a report, in about five minutes on two cores."""
    import shutil

    from diffalign.training.align import align
    from diffalign.training.recipe.load import load_recipe

    recipe = Path(__file__).parents[2] / "configs" / "emoji" / "dpo.yaml"
    if not recipe.exists():
        raise UserError(
            f"the demo needs the repository's configs/ and assets/ folders, and {recipe} does not exist. "
            "Clone the repository and run `make demo` there."
        )
    if (output / "recipe.yaml").exists():
        shutil.rmtree(output)  # every demo starts from scratch, but only a folder of a run is removed
    align(load_recipe(recipe, [f"output={output}", f"train.seed={seed}", *set_]))
