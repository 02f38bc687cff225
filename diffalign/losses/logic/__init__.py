"""The logic of losses on a pair: the statement about its two candidates that a loss makes true.

The proposition ``M_w`` is "the chosen candidate is valid under the model", ``M_l`` the same for the rejected one,
``R_w`` and ``R_l`` under the reference; each is true with the candidate's probability, independently. A *world* is a
truth value for each, written as digits in this order: ``10`` is ``M_w`` and not ``M_l``. A *structure* is two sets of
worlds, those that count for the loss (top) and those that count against it (bottom):

    rho = log [ weight(top) / weight(bottom) ],      loss = -log s(beta rho)

    formulas              statements: parsed, evaluated, written
    shortest_statement    the shortest statement that is true in given worlds
    structures            top and bottom, or core, constraint and additive part
    named_forms           the forms that have a name
    parse                 a structure from text
    expansion, model_counting, closed_form    the weights of a structure: as a tree, as logarithms, as a formula
    strictness            the order of structures
    catalogue_forms       the losses of the registry that have a form
    render                all of it as text

Source: Richardson et al. 2024 (arXiv 2412.17696).
"""

from diffalign.losses.logic.model_counting import rho, rho_against
from diffalign.losses.logic.named_forms import TABLE
from diffalign.losses.logic.parse_structure import structure_of
from diffalign.losses.logic.strictness import lattice, stricter
from diffalign.losses.logic.structures import Structure

__all__ = ["TABLE", "Structure", "lattice", "rho", "rho_against", "stricter", "structure_of"]
