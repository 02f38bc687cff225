"""`diffalign logic`: what a loss says, as a statement about its two candidates, and which loss a statement makes."""

from __future__ import annotations

from typing import Annotated

import typer

from diffalign.cli.app import app
from diffalign.errors import UserError, near_miss


@app.command()
def logic(
    form: Annotated[
        str, typer.Argument(help="A loss, a form's name, or a form: 'M_l -> M_w given M_w or M_l', '11,10 / 01'.")
    ] = "",
    at: Annotated[str, typer.Option(help="Show its numbers at probabilities, such as 0.6,0.3 of M_w and M_l.")] = "",
    lattice: Annotated[
        bool, typer.Option("--lattice", help="Show which form's loss is never below another's.")
    ] = False,
) -> None:
    """Show the logic of a loss on pairs: truth table, statements, closed form; without a name, every form."""
    from diffalign.losses import LOSSES, find
    from diffalign.losses.logic.named_forms import TABLE
    from diffalign.losses.logic.render import lattice_page, overview, page, page_of_loss

    try:
        points = [float(word) for word in at.split(",")] if at else []
    except ValueError:
        raise UserError(f"--at takes numbers between 0 and 1, such as --at 0.6,0.3; got '{at}'") from None
    if lattice:
        typer.echo(lattice_page())
        return
    if not form:
        typer.echo(overview())
        return
    losses = {name: row.name for row in LOSSES.values() for name in (row.name, *row.aliases)}
    try:
        if form not in TABLE and form in losses:
            typer.echo(page_of_loss(find(LOSSES, form).name, points))
        else:
            typer.echo(page(form, points))
    except ValueError as error:
        raise UserError(f"{error}{near_miss(form, losses) if form.isidentifier() else ''}") from None
