"""`diffalign doctor`: checks of the environment."""

from __future__ import annotations

import typer

from diffalign.cli.app import app


@app.command()
def doctor() -> None:
    """Check this environment and print each finding with its fix; exit with 1 if something will fail."""
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
