"""Losses on ranked lists: several candidates of one prompt, best first. One row each in :data:`LISTS`."""

from diffalign.losses.lists.best_of_n import BEST_OF_N
from diffalign.losses.lists.group_kl import GROUP_KL
from diffalign.losses.lists.leave_one_out import LEAVE_ONE_OUT
from diffalign.losses.lists.plackett_luce import PLACKETT_LUCE, PRO
from diffalign.losses.lists.reward_weighted import REWARD_WEIGHTED
from diffalign.losses.lists.tree_po import TREE_PO
from diffalign.losses.lists.tree_po_steps import TREE_PO_STEPS
from diffalign.losses.loss import Loss

LISTS: tuple[Loss, ...] = (
    PLACKETT_LUCE,
    TREE_PO,
    TREE_PO_STEPS,
    PRO,
    LEAVE_ONE_OUT,
    BEST_OF_N,
    REWARD_WEIGHTED,
    GROUP_KL,
)
"""The rows of this folder, in the order of listings."""
