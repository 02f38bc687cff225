"""`diffalign methods` and `diffalign logic`: pages on methods, on what they are made of, and on the logic of losses."""

from __future__ import annotations

from typing import Annotated

import typer

from diffalign.cli.app import app
from diffalign.errors import UserError, near_miss


@app.command()
def methods(
    name: Annotated[str, typer.Argument(help="A method, or a name on one of the axes; by default the list.")] = "",
) -> None:
    """List the methods and the names on the four axes (pairs, latents, labels, losses), or explain one of them."""
    from diffalign.cli.list_choices import explanations, listing

    if not name:
        typer.echo(listing())
        return
    pages = explanations()
    if name not in pages:
        names = ", ".join(pages)
        raise UserError(f"there is no method and no part named '{name}'.{near_miss(name, pages)} Known: {names}.")
    typer.echo(pages[name])


@app.command()
def logic(
    form: Annotated[
        str, typer.Argument(help="A loss, a form's name, or a form: 'M_l -> M_w given M_w or M_l', '11,10 / 01'.")
    ] = "",
    at: Annotated[
        str, typer.Option(help="Probabilities of M_w and M_l at which to show numbers, such as 0.6,0.3.")
    ] = "",
    lattice: Annotated[
        bool, typer.Option("--lattice", help="Show which form's loss is never below another's.")
    ] = False,
) -> None:
    """Show the logic of a loss on pairs (truth table, statements, closed form); without a name, list all forms."""
    from diffalign.losses import LOSSES, find
    from diffalign.losses.logic.named_forms import TABLE
    from diffalign.losses.logic.structure_page import lattice_page, overview, page, page_of_loss

    try:
        points = [float(number) for number in at.split(",")] if at else []
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
