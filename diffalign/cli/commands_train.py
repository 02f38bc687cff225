"""`diffalign train`, `plan` and `demo`: alignment by a recipe, and what it will need."""

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

DEMOS = {
    "image": ("emoji/dpo.yaml", Path("runs/demo")),
    "video": ("video/emoji_dpo.yaml", Path("runs/demo-video")),
    "rounds": ("emoji/rounds.yaml", Path("runs/demo-rounds")),
}
"""Name to the recipe in ``configs`` and the usual folder."""


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
def plan(
    recipe: Annotated[Path, typer.Argument(help="A YAML recipe; see configs/.")],
    memory: Annotated[
        str, typer.Option(help="Memory of each GPU, such as 24GB; by default what is free on this machine's device.")
    ] = "",
    devices: Annotated[int, typer.Option(min=1, help="Devices that share each batch.")] = 1,
    write: Annotated[bool, typer.Option("--write", help="Put the changes into the recipe.")] = False,
    set_: Overrides = [],  # noqa: B006
) -> None:
    """Say what each stage of a training needs in memory and on disk, and what to change so that it fits.

    Models are opened without their weights, so the machine may be smaller than the one that will train.
    """
    from diffalign.devices.plan.memory_size import parse_size
    from diffalign.files.atomic import write_atomically
    from diffalign.files.text_files import read_text_file
    from diffalign.files.yaml_edit import with_values
    from diffalign.training.recipe.load import load_recipe
    from diffalign.training.setup.plan_run import ADVICE, plan_recipe

    limit = parse_size(memory) if memory else None
    _, found = plan_recipe(load_recipe(recipe, set_), limit, devices)
    for line in found.lines():
        typer.echo(line)
    if not found.fits:
        typer.echo(ADVICE)
        raise typer.Exit(1)
    if write and found.changes:
        settings = {path: value for change in found.changes for path, value in change.settings.items()}
        text = with_values(read_text_file(recipe, "recipe"), settings, str(recipe))
        write_atomically(recipe, lambda path: path.write_text(text, encoding="utf-8"))
        typer.echo(f"written to {recipe}")
    elif write:
        typer.echo("nothing to change")


@app.command()
def demo(
    medium: Annotated[
        str,
        typer.Argument(help="What the model draws: image or video; or rounds: images, from its own judged answers."),
    ] = "image",
    output: Annotated[
        Path | None,
        typer.Option(
            help="Folder for adapter, report and samples; by default runs/demo, demo-video or demo-rounds, then -2 ..."
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the run and of the comparison.")] = 0,
    set_: Overrides = [],  # noqa: B006
    resume: Resume = False,
) -> None:
    """Align an embedded model with pairs or its own answers and write a report: about ten minutes on two cores.

    An earlier demo is kept: without --output each one has a folder of its own, and --resume continues the last.
    """
    from diffalign.training.align import align
    from diffalign.training.recipe.load import load_recipe

    if medium not in DEMOS:
        raise UserError(f"there are the demos {', '.join(DEMOS)}; got '{medium}'. Type: diffalign demo")
    recipe, usual = Path(__file__).parents[2] / "configs" / DEMOS[medium][0], DEMOS[medium][1]
    if not recipe.exists():
        raise UserError(
            f"the demo needs the repository's configs/ and assets/ folders, and {recipe} does not exist. "
            "Clone the repository and run `make demo` there."
        )
    folder = output or demo_folder(usual, resume)
    align(load_recipe(recipe, [f"output={folder}", f"train.seed={seed}", *set_]), resume=resume)


def demo_folder(usual: Path, resume: bool) -> Path:
    """Returns the first folder of a name that is free; to resume, the last one that is not."""
    number, folder = 1, usual
    while os.path.lexists(folder) and not _is_empty(folder):
        last, number = folder, number + 1
        folder = usual.with_name(f"{usual.name}-{number}")
    return last if resume and number > 1 else folder


def _is_empty(folder: Path) -> bool:
    return folder.is_dir() and not any(folder.iterdir())
