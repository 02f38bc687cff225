"""Losses: log-probabilities in, one number per example out. Torch only; a loss never learns what was scored.

    pairs/ singles/ lists/ tokens/    the losses, by what one example is; one file, one row each
    candidate_logps, pair_logps       what they receive
    catalogue, settings, bound        what a row says of itself, what all losses can be set to, a loss that is set
    objective                         a sum of several
    divergences, ranges, beta         curves of the log-ratio, allowed values, one beta in several conventions

A new loss is one function with its row, one line in its folder's table, and one plain formula in the common battery.
"""

from collections.abc import Mapping

from diffalign.losses.beta import equivalent_betas
from diffalign.losses.candidate_logps import CandidateLogps, upcast
from diffalign.losses.lists import LISTS
from diffalign.losses.loss import BoundLoss, Loss, hyperparameters
from diffalign.losses.objective import Objective, Term, single_loss_objective
from diffalign.losses.pair_logps import AnswerLogps, PairLogps
from diffalign.losses.pairs import PAIRS
from diffalign.losses.pairs.hinge import hinge
from diffalign.losses.pairs.ipo import ipo
from diffalign.losses.pairs.logistic import logistic, robust
from diffalign.losses.pairs.mapo import mapo
from diffalign.losses.pairs.orpo import orpo
from diffalign.losses.pairs.rpo import rpo
from diffalign.losses.pairs.simpo import simpo
from diffalign.losses.ranges import Range
from diffalign.losses.registry import find, table
from diffalign.losses.rewards import accuracy, implicit_rewards
from diffalign.losses.settings import SETTINGS, settings_of
from diffalign.losses.singles import SINGLES
from diffalign.losses.singles.kto import kto
from diffalign.losses.singles.sft import sft
from diffalign.losses.tokens import TOKENS

LOSSES: dict[str, Loss] = table(*PAIRS, *SINGLES, *LISTS, *TOKENS)
"""Every loss by name."""

LOSS_ALIASES: Mapping[str, str] = {alias: row.name for row in LOSSES.values() for alias in row.aliases}
"""Other names that recipes may use, and the name in :data:`LOSSES` that each stands for."""


def loss_named(name: str) -> Loss:
    """The loss of a name or of an alias ("sigmoid", "ipo"). Raises ValueError naming the nearest one."""
    return find(LOSSES, name)


__all__ = [
    "LOSSES",
    "LOSS_ALIASES",
    "SETTINGS",
    "AnswerLogps",
    "BoundLoss",
    "Loss",
    "Objective",
    "PairLogps",
    "Range",
    "CandidateLogps",
    "Term",
    "accuracy",
    "single_loss_objective",
    "equivalent_betas",
    "upcast",
    "hinge",
    "hyperparameters",
    "implicit_rewards",
    "ipo",
    "kto",
    "logistic",
    "loss_named",
    "mapo",
    "orpo",
    "robust",
    "rpo",
    "settings_of",
    "sft",
    "simpo",
]
