"""The typer application, and error messages instead of tracebacks for user errors."""

from __future__ import annotations

import os
import sys

import typer

from diffalign.cli.clean_terminal import clean_terminal
from diffalign.errors import UserError

app = typer.Typer(
    name="diffalign",
    help="Align image and language models with preferences: train, generate, score, compare.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
data_app = typer.Typer(
    help="Check, measure, generate and transform preference data for training.", no_args_is_help=True
)
app.add_typer(data_app, name="data")


def run() -> None:
    """Runs the application. A user error prints one paragraph and exits with 2; other errors keep their traceback.

    With ``DIFFALIGN_DEBUG=1`` user errors keep their traceback too.
    """
    clean_terminal()
    try:
        app()
    except UserError as error:
        if os.environ.get("DIFFALIGN_DEBUG"):
            raise
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None
