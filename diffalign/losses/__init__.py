"""Losses: log-probabilities in, one number per example out. Torch only; a loss never learns what was scored.

A new loss is one function with its row, one import line here, and one plain formula in the common battery of tests.
"""

from diffalign.losses.beta import equivalent_betas
from diffalign.losses.catalogue import BoundLoss, Loss, find, hyperparameters, table
from diffalign.losses.hinge import HINGE, hinge
from diffalign.losses.likelihood import SFT, sft
from diffalign.losses.logistic import LOGISTIC, ROBUST, logistic, robust
from diffalign.losses.mapo import MAPO, mapo
from diffalign.losses.odds import ORPO, orpo
from diffalign.losses.ranges import Range
from diffalign.losses.regularised import RPO, rpo
from diffalign.losses.rewards import accuracy, implicit_rewards
from diffalign.losses.scores import PairScores, Scores, exact
from diffalign.losses.simpo import SIMPO, simpo
from diffalign.losses.squared import SQUARED, squared
from diffalign.losses.utility import KTO, kto

LOSSES: dict[str, Loss] = table(LOGISTIC, ROBUST, SQUARED, HINGE, SIMPO, RPO, ORPO, KTO, SFT, MAPO)
"""Every loss by name."""


def loss_named(name: str) -> Loss:
    """The loss of a name or of an alias ("sigmoid", "ipo"). Raises ValueError naming the nearest one."""
    return find(LOSSES, name)


__all__ = [
    "LOSSES",
    "BoundLoss",
    "Loss",
    "PairScores",
    "Range",
    "Scores",
    "accuracy",
    "equivalent_betas",
    "exact",
    "hinge",
    "hyperparameters",
    "implicit_rewards",
    "kto",
    "logistic",
    "loss_named",
    "mapo",
    "orpo",
    "robust",
    "rpo",
    "sft",
    "simpo",
    "squared",
]
