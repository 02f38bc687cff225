"""`diffalign train` and `diffalign demo`: alignment by a recipe."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from diffalign.cli.app import app
from diffalign.errors import UserError

Overrides = Annotated[
    list[str],
    typer.Option("--set", metavar="KEY=VALUE", help="Value of the recipe, e.g. --set train.steps=100. Repeatable."),
]
Resume = Annotated[bool, typer.Option("--resume", help="Resume from the last checkpoint in the output folder.")]

DEMO = Path("runs/demo")


@app.command()
def train(
    recipe: Annotated[Path, typer.Argument(help="A YAML recipe; see configs/.")],
    set_: Overrides = [],  # noqa: B006  (typer reads the default and nothing changes it)
    resume: Resume = False,
    changed: Annotated[
        bool,
        typer.Option("--resume-on-changed-data", help="Resume although the data is not what the run was trained on."),
    ] = False,
    check: Annotated[
        bool, typer.Option("--check", help="Check recipe, data and model, print the header, and stop.")
    ] = False,
) -> None:
    """Align a model by a recipe, compare it with its base if the recipe has prompts for it, and write report.html."""
    from diffalign.training.align import align
    from diffalign.training.recipe.load import load_recipe

    align(load_recipe(recipe, set_), resume=resume, check_only=check, resume_on_changed_data=changed)


@app.command()
def demo(
    output: Annotated[
        Path | None,
        typer.Option(help=f"Folder for the adapter, the report and the samples; by default {DEMO}, {DEMO}-2, ..."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the run and of the comparison.")] = 0,
    set_: Overrides = [],  # noqa: B006
    resume: Resume = False,
) -> None:
    """Align the embedded model with its preference pairs and write a report, in about five minutes on two cores.

    An earlier demo is kept: without --output each one has a folder of its own, and --resume continues the last.
    """
    from diffalign.training.align import align
    from diffalign.training.recipe.load import load_recipe

    recipe = Path(__file__).parents[2] / "configs" / "emoji" / "dpo.yaml"
    if not recipe.exists():
        raise UserError(
            f"the demo needs the repository's configs/ and assets/ folders, and {recipe} does not exist. "
            "Clone the repository and run `make demo` there."
        )
    folder = output or demo_folder(resume)
    align(load_recipe(recipe, [f"output={folder}", f"train.seed={seed}", *set_]), resume=resume)


def demo_folder(resume: bool) -> Path:
    """Returns the first folder of its kind that is free; to resume, the last one that is not."""
    number, folder = 1, DEMO
    while os.path.lexists(folder) and not _is_empty(folder):
        last, number = folder, number + 1
        folder = DEMO.with_name(f"{DEMO.name}-{number}")
    return last if resume and number > 1 else folder


def _is_empty(folder: Path) -> bool:
    return folder.is_dir() and not any(folder.iterdir())
