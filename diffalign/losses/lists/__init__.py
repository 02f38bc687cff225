"""Losses on ranked lists: several candidates of one prompt, best first. One row each in :data:`LISTS`."""

from diffalign.losses.lists.plackett_luce import PLACKETT_LUCE, PRO
from diffalign.losses.lists.tree_po import TREE_PO
from diffalign.losses.lists.tree_po_steps import TREE_PO_STEPS
from diffalign.losses.loss import Loss

LISTS: tuple[Loss, ...] = (PLACKETT_LUCE, TREE_PO, TREE_PO_STEPS, PRO)
"""The rows of this folder, in the order of listings."""
