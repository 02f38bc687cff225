"""Losses on single examples: one candidate, to be learnt or to be avoided. One row each in :data:`SINGLES`."""

from diffalign.losses.catalogue import Loss
from diffalign.losses.singles.classifier import BCO
from diffalign.losses.singles.demonstrations import F_SFT, F_SFT_TOKENS
from diffalign.losses.singles.forgetting import NPO
from diffalign.losses.singles.likelihood import SFT
from diffalign.losses.singles.utility import KTO

SINGLES: tuple[Loss, ...] = (KTO, BCO, NPO, SFT, F_SFT, F_SFT_TOKENS)
"""The rows of this folder, in the order of listings."""
