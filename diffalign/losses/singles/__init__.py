"""Losses on single examples: one candidate, to be learnt or avoided. Their rows are in :data:`SINGLES`."""

from diffalign.losses.loss import Loss
from diffalign.losses.singles.bco import BCO
from diffalign.losses.singles.f_sft import F_SFT, F_SFT_TOKENS
from diffalign.losses.singles.kto import KTO
from diffalign.losses.singles.npo import NPO
from diffalign.losses.singles.sft import SFT

SINGLES: tuple[Loss, ...] = (KTO, BCO, NPO, SFT, F_SFT, F_SFT_TOKENS)
"""The rows of this folder, in the order of listings."""
