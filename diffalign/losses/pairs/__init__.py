"""Losses on pairs: two candidates of which one is preferred. One file each, one row each in :data:`PAIRS`."""

from diffalign.losses.catalogue import Loss
from diffalign.losses.pairs.hinge import HINGE
from diffalign.losses.pairs.logistic import LOGISTIC, ROBUST
from diffalign.losses.pairs.mapo import MAPO
from diffalign.losses.pairs.odds import ORPO
from diffalign.losses.pairs.regularised import RPO
from diffalign.losses.pairs.simpo import SIMPO
from diffalign.losses.pairs.squared import SQUARED

PAIRS: tuple[Loss, ...] = (LOGISTIC, ROBUST, SQUARED, HINGE, SIMPO, RPO, ORPO, MAPO)
"""The rows of this folder, in the order of listings."""
