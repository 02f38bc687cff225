"""`diffalign evaluate` runs the published protocols in the repository's folder `evaluators/`, one program each."""

from __future__ import annotations

import ast
import importlib
import sys
from pathlib import Path
from typing import Annotated

import typer

from diffalign.cli.app import app
from diffalign.errors import UserError, near_miss

FOLDER = Path(__file__).parents[2] / "evaluators"


@app.command(context_settings={"allow_interspersed_args": False, "ignore_unknown_options": True})
def evaluate(
    name: Annotated[str, typer.Argument(help="The protocol; without, a list of them.")] = "",
    options: Annotated[
        list[str] | None, typer.Argument(help="Options of the protocol; see diffalign evaluate NAME --help.")
    ] = None,
) -> None:
    """Run a published evaluation protocol: diffalign evaluate NAME OPTIONS. Without a name, list the protocols."""
    if not FOLDER.is_dir():
        raise UserError(
            f"the protocols are in the repository's evaluators/ folder, and {FOLDER} does not exist. Clone the "
            "repository and run `diffalign evaluate` there."
        )
    programs = protocols()
    if not name:
        width = max(map(len, programs))
        for program, summary in programs.items():
            typer.echo(f"{program:<{width}}  {summary}")
        return
    if name not in programs:
        raise UserError(f"there is no protocol '{name}'.{near_miss(name, programs)} Known: {', '.join(programs)}.")
    if str(FOLDER.parent) not in sys.path:
        sys.path.insert(0, str(FOLDER.parent))
    importlib.import_module(f"evaluators.{name}").main(options or [])


def protocols() -> dict[str, str]:
    """Returns the name of each protocol with the first line of its program; nothing is imported."""
    files = sorted(path for path in FOLDER.glob("*.py") if path.name != "__init__.py")
    docs = {path.stem: ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "" for path in files}
    return {name: doc.partition("\n")[0] for name, doc in docs.items()}
