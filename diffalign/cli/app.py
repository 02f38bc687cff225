"""The typer application, and error messages instead of tracebacks for user errors."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from diffalign import __version__
from diffalign.cli.clean_terminal import clean_terminal
from diffalign.cli.hints import as_typed, command_of
from diffalign.errors import UserError
from diffalign.plugins import load_plugins

app = typer.Typer(
    name="diffalign",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
data_app = typer.Typer(
    help="Check, measure, generate and transform preference data for training.", no_args_is_help=True
)
app.add_typer(data_app, name="data")


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"diffalign {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version, and stop.")
    ] = False,
    plugin: Annotated[
        list[str],
        typer.Option(help="Module or file of Python that registers losses, scorers, formats, ... Repeatable."),
    ] = [],  # noqa: B006  (typer reads the default and nothing changes it)
) -> None:
    """Align image and language models with preferences: train, generate, score, compare."""
    if plugin:
        load_plugins(plugin)


def run() -> None:
    """Runs the application. A user error, or a lack of memory, prints one paragraph and exits with 2; a run that a
    signal stopped exits with 130 (Ctrl-C) or 143 (SIGTERM); other errors keep their traceback.

    With ``DIFFALIGN_DEBUG=1`` user errors keep their traceback too.
    """
    clean_terminal()
    try:
        app()
    except UserError as error:
        if os.environ.get("DIFFALIGN_DEBUG"):
            raise
        stopped = getattr(error, "exit_code", None)  # of a run that a signal stopped
        print(error if stopped else f"error: {as_typed(str(error), command_of(sys.argv[1:]))}", file=sys.stderr)
        raise SystemExit(stopped or 2) from None
    except (MemoryError, RuntimeError, OSError) as error:
        from diffalign.devices.out_of_memory import is_out_of_memory

        if os.environ.get("DIFFALIGN_DEBUG") or not is_out_of_memory(error):
            raise
        print(
            "error: out of memory. Give a smaller --batch, fewer rows, or a device with more memory.", file=sys.stderr
        )
        raise SystemExit(2) from None
