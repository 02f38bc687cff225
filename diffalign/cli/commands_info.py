"""`diffalign methods` and `diffalign doctor`: what there is to choose, and whether this machine can run it."""

from __future__ import annotations

from typing import Annotated

import typer

from diffalign.cli.app import app
from diffalign.errors import UserError, near_miss


@app.command()
def methods(name: Annotated[str, typer.Argument(help="A method or a loss to explain.")] = "") -> None:
    """List methods and losses, or explain one: formula, source, advice."""
    from diffalign.losses import LOSSES
    from diffalign.methods import METHODS

    if not name:
        typer.echo("methods (method: NAME)")
        for method in METHODS.values():
            typer.echo(f"  {method.name:<16} {method.summary}")
        typer.echo("losses (loss: NAME)")
        for loss in LOSSES.values():
            typer.echo(f"  {loss.name:<16} {loss.summary}")
        return
    if name in METHODS:
        typer.echo(METHODS[name].explain())
    elif name in LOSSES:
        typer.echo(LOSSES[name].explain())
    else:
        known = [*METHODS, *LOSSES]
        raise UserError(f"there is no method or loss '{name}'.{near_miss(name, known)} Known: {', '.join(known)}.")


@app.command()
def doctor() -> None:
    """Check this environment: each finding comes with its fix. Exits with 1 when something will fail."""
    from diffalign.cli.doctor import diagnose

    findings = diagnose()
    marks = {"ok": "ok     ", "note": "note   ", "problem": "PROBLEM"}
    for finding in findings:
        typer.echo(f"{marks[finding.state]}  {finding.what}")
        if finding.fix:
            typer.echo(f"         -> {finding.fix}")
    problems = sum(finding.state == "problem" for finding in findings)
    typer.echo(f"{problems} problem(s)." if problems else "Ready.")
    if problems:
        raise typer.Exit(1)
