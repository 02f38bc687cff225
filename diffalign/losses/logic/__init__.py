"""The logic of losses on a pair: which statement about its two candidates a loss wants to be true.

``M_w`` says "the model holds the chosen candidate for valid", ``M_l`` the same of the rejected one, ``R_w`` and ``R_l``
of the reference; each is true with the candidate's probability, independently. A *world* says of each whether it is
true, written as digits in this order: ``10`` is ``M_w`` and not ``M_l``. A *structure* is two sets of worlds, those
that count for the loss (top) and those that count against it (bottom):

    rho = log [ weight(top) / weight(bottom) ],      loss = -log s(beta rho)

    formulas    statements: read, decided, written
    words       the shortest statement that is true in given worlds
    structures  top and bottom, or core, constraint and additive part
    table       the forms that have a name
    reading     a structure from text
    expansion, counting, closed    its weights: as a tree, as logarithms, as a formula
    order       which structure is the stricter one
    forms       the catalogue's losses that have a form
    pages       all of it as text

Source: Richardson et al. 2024 (arXiv 2412.17696).
"""

from diffalign.losses.logic.model_counting import rho, rho_against
from diffalign.losses.logic.named_forms import TABLE
from diffalign.losses.logic.parse import structure_of
from diffalign.losses.logic.strictness import lattice, stricter
from diffalign.losses.logic.structures import Structure

__all__ = ["TABLE", "Structure", "lattice", "rho", "rho_against", "stricter", "structure_of"]
