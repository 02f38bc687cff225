"""`diffalign methods`, `info` and `doctor`: what there is to choose, what an adapter says of itself, and whether this
machine can run it all."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from diffalign.cli.app import app
from diffalign.errors import UserError, near_miss


@app.command()
def methods(name: Annotated[str, typer.Argument(help="A method, or a choice on one of the axes.")] = "") -> None:
    """List methods and the choices on the four axes (pairs, latents, labels, losses), or explain one of them."""
    from diffalign.cli.list_choices import explanations, listing

    if not name:
        typer.echo(listing())
        return
    pages = explanations()
    if name not in pages:
        known = ", ".join(pages)
        raise UserError(f"there is no method and no part named '{name}'.{near_miss(name, pages)} Known: {known}.")
    typer.echo(pages[name])


@app.command()
def info(path: Annotated[Path, typer.Argument(help="An adapter: diffusers' file or peft's folder.")]) -> None:
    """Show what an adapter is, how it was aligned, and from which base."""
    from diffalign.sharing.read_info import read_info

    for key, value in read_info(path.expanduser()).items():
        shown = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
        typer.echo(f"{key:<18}{shown}")


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
