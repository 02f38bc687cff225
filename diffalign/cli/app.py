"""The command line's frame: one typer application, and errors that are sentences instead of tracebacks."""

from __future__ import annotations

import os
import sys

import typer

from diffalign.errors import UserError

app = typer.Typer(
    name="diffalign",
    help="Align image and language models with preferences: train, generate, score, compare.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
data_app = typer.Typer(help="Look at preference data, and prepare it, before training on it.", no_args_is_help=True)
app.add_typer(data_app, name="data")


def run() -> None:
    """Runs the application. A user's mistake prints one paragraph and exits with 2; a bug keeps its traceback.

    With ``DIFFALIGN_DEBUG=1`` user errors keep their traceback too.
    """
    try:
        app()
    except UserError as error:
        if os.environ.get("DIFFALIGN_DEBUG"):
            raise
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None
