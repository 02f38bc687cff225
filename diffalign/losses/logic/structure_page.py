"""Renders a structure as text: its worlds, its statements, its formula, and its place in the order of structures."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

import torch

from diffalign.losses.logic.catalogue_forms import FORMS
from diffalign.losses.logic.closed_form import closed_form, has_complement
from diffalign.losses.logic.formulas import PROPOSITIONS
from diffalign.losses.logic.model_counting import log_weight, rho, rho_against
from diffalign.losses.logic.named_forms import TABLE, named
from diffalign.losses.logic.parse_structure import structure_of
from diffalign.losses.logic.shortest_statement import worlds_over
from diffalign.losses.logic.strictness import chains, lattice, stricter
from diffalign.losses.logic.structures import Structure


def page(text: str, at: Sequence[float] = ()) -> str:
    """Returns the page of a form: truth table, P, P_C, P_A, closed form, neighbours in the order, how to train with it.

    Args:
        text: A form, as `structure_of` parses it.
        at: Probabilities of M_w and M_l (and of R_w and R_l) at which it is evaluated.
    """
    structure = structure_of(text)
    row = named(structure)
    core, constraint, additive = (
        (row.core, row.constraint, row.additive)
        if row
        else map(str, (structure.core, structure.constraint, structure.additive))
    )
    lines = [f"{row.name}: {row.meaning}" if row else f"{structure}: a form without a name", ""]
    lines += [*_truth_table(structure), ""]
    lines += [f"  P      {core}", f"  P_C    {constraint}", f"  P_A    {additive}", ""]
    lines += [f"  rho    {closed_form(structure)}", "  loss   -log s(beta rho)"]
    lines += [f"         {line}" for line in _properties(structure)]
    lines += [f"  order  {line}" for line in _neighbours(structure)]
    loss = "structure" if structure.count == 2 else "structure_reference"
    lines += ["", f"  train  loss: {{name: {loss}, form: {_quoted(row.name if row else text.strip())}}}"]
    return "\n".join([*lines, *(_numbers(structure, at) if at else [])])


def page_of_loss(name: str, at: Sequence[float] = ()) -> str:
    """Returns the page of a loss of the registry: its structures, and the page of each."""
    if name not in FORMS:
        return (
            f"{name}: no form. It is no known function of the weights of worlds; losses that "
            f"have one are {', '.join(FORMS)}."
        )
    form = FORMS[name]
    where = ", ".join(f"{key}: {str(value).lower()}" for key, value in form.where.items())
    terms = "\n".join(f"  {'+' if k else ' '} {term}" for k, term in enumerate(form.terms))
    shown = [page(key, at) for key, _ in groupby(sorted(term.form for term in form.terms))]
    return "\n\n".join([f"{name}{f' ({where})' if where else ''} =\n{terms}", *shown])


def overview() -> str:
    """Returns the named forms, one line each, and the losses of the registry that have a form."""
    lines = [f"{'form':<7} {'top':<9} {'bottom':<9} rho"]
    for row in TABLE.values():
        made = row.structure
        sets = ("4 worlds", "4 worlds") if made.count == 4 else (_listed(made.top), _listed(made.bottom))
        lines.append(f"{row.name:<7} {sets[0]:<9} {sets[1]:<9} {closed_form(made)}")
    lines += ["", "worlds are M_w M_l: whether the chosen and the rejected answer are valid"]
    lines += [f"losses that have a form: {', '.join(FORMS)}"]
    return "\n".join(lines)


def lattice_page() -> str:
    """Returns the order of the named forms over the model only, from the strictest to the loosest."""
    return "\n".join(
        ["Loss values at one beta, whatever the probabilities (a form beside others in no line is not comparable):"]
        + [f"  {line}" for line in chains(lattice())]
    )


def _truth_table(structure: Structure) -> list[str]:
    names = PROPOSITIONS[: structure.count]
    shown = [world for world in worlds_over(structure.count) if structure.count == 2 or structure.mark(world)]
    lines = ["  " + " ".join(f"{name:<4}" for name in names) + " counts"]
    lines += ["  " + " ".join(f"{digit:<4}" for digit in world) + f" {structure.mark(world) or '-'}" for world in shown]
    return lines + ["  (no other world counts)"] * (len(shown) < 2**structure.count)


def _properties(structure: Structure) -> list[str]:
    if structure.top == structure.bottom:
        return ["the same for every model, so it cannot be used in training"]
    follows = "never falls with p_w and never rises with p_l: it follows the label"
    lines = [f"rho {follows}" if structure.follows_the_label else "rho may contradict the label for some p_w, p_l"]
    if has_complement(structure.without_reference or structure):
        lines.append("has a 1 - p: use means over tokens; for a denoiser set logp_scale")
    return lines


def _neighbours(structure: Structure) -> list[str]:
    others = {name: row.structure for name, row in TABLE.items() if row.structure.count == structure.count}
    relations = {
        "never below the loss of": [name for name, other in others.items() if stricter(structure, other)],
        "never above the loss of": [name for name, other in others.items() if stricter(other, structure)],
    }
    return [f"{relation} {', '.join(names)}" for relation, names in relations.items() if names]


def _numbers(structure: Structure, at: Sequence[float]) -> list[str]:
    if len(at) not in (2, structure.count) or not all(0.0 < p < 1.0 for p in at):
        raise ValueError(
            "probabilities are given for M_w and M_l, and for a form over the reference also for R_w and R_l, each "
            f"between 0 and 1; got {', '.join(f'{p:g}' for p in at)}"
        )
    if len(at) < structure.count:
        raise ValueError(
            "this form contains propositions of the reference: give four probabilities, of M_w, M_l, R_w and R_l"
        )
    logps = [torch.tensor([p], dtype=torch.float64).log() for p in at]
    top, bottom = (log_weight(some, logps).exp().item() for some in (structure.top, structure.bottom))
    log_odds = rho(structure, logps)
    assert torch.allclose(log_odds, rho_against(structure, logps[:2], logps[2:])) if len(at) == 4 else True
    letters = ", ".join(f"{letter} {p:g}" for letter, p in zip(("p_w", "p_l", "r_w", "r_l"), at, strict=False))
    loss = -torch.nn.functional.logsigmoid(log_odds).item()
    return [
        "",
        f"  at {letters}: top {top:.6f}, bottom {bottom:.6f}, rho {log_odds.item():.6f}, loss {loss:.6f} at beta 1",
    ]


def _listed(some: frozenset[str]) -> str:
    return ",".join(sorted(some, reverse=True))


def _quoted(text: str) -> str:
    return text if text.isalnum() else f'"{text}"'
