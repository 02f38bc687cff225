"""`diffalign methods` and `diffalign doctor`: what there is to choose, and whether this machine can run it."""

from __future__ import annotations

from typing import Annotated

import typer

from diffalign.cli.app import app
from diffalign.errors import UserError, near_miss


@app.command()
def methods(name: Annotated[str, typer.Argument(help="A method, or a choice on one of the axes.")] = "") -> None:
    """List methods and the choices on the four axes (pairs, latents, labels, losses), or explain one of them."""
    from diffalign.cli.listing import explanations, listing

    if not name:
        typer.echo(listing())
        return
    pages = explanations()
    if name not in pages:
        known = ", ".join(pages)
        raise UserError(f"there is no method and no part named '{name}'.{near_miss(name, pages)} Known: {known}.")
    typer.echo(pages[name])


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
