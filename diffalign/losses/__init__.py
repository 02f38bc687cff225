"""Losses: log-probabilities in, one number per example out. They need torch only and are independent of the modality.

    pairs/ singles/ lists/ tokens/          the losses, by the kind of example
    candidate_logps, pair_logps             their input
    loss, registry                          the row of a loss and its bound form; rows by name
    hyperparameters, ranges, settings       names and checks of values; settings that many losses share
    objective                               a sum of several
    divergences, regression, rewards        curves of the log-ratio; implicit rewards
    diagnostics/                            metrics that are not losses

A new loss is one function with its row, one line in its folder's table, one plain formula in the tests and one line in
``docs/losses.md``.
"""

from diffalign.losses.beta_conventions import equivalent_betas
from diffalign.losses.candidate_logps import CandidateLogps, upcast
from diffalign.losses.lists import LISTS
from diffalign.losses.logp_settings import SETTINGS, settings_of
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
from diffalign.losses.registry import add, find, table
from diffalign.losses.rewards import accuracy, implicit_rewards
from diffalign.losses.singles import SINGLES
from diffalign.losses.singles.kto import kto
from diffalign.losses.singles.sft import sft
from diffalign.losses.tokens import TOKENS

LOSSES: dict[str, Loss] = table(*PAIRS, *SINGLES, *LISTS, *TOKENS)
"""Every loss by name."""

LOSS_ALIASES: dict[str, str] = {alias: row.name for row in LOSSES.values() for alias in row.aliases}
"""Other names that recipes may use, and the name in :data:`LOSSES` that each stands for."""

_BUILT_IN = frozenset([*LOSSES, *LOSS_ALIASES])


def loss_named(name: str) -> Loss:
    """Returns the loss of a name or an alias ("sigmoid", "ipo"). Raises ValueError with the nearest one."""
    return find(LOSSES, name)


def register_loss(row: Loss, *, replace: bool = False) -> Loss:
    """Adds a loss from outside the package: recipes may name it, sum it and give it every setting that its row allows.

    Args:
        row: Its name, function, formula and claims; see `loss.Loss`.
        replace: Whether it takes the place of a loss of that name that was registered before.

    Returns:
        The row.

    Raises:
        ValueError: The row is incomplete, or one of its names is taken.
    """
    add(LOSSES, LOSS_ALIASES, row, built_in=_BUILT_IN, replace=replace)
    return row


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
    "register_loss",
    "robust",
    "rpo",
    "settings_of",
    "sft",
    "simpo",
]
