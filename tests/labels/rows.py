"""What the tests of labels share: pairs that every label can judge, each label made of them, each loss bound."""

import inspect

import pytest
import torch

from diffalign.data.records.pair import Pair
from diffalign.labels import LABELS, Label
from diffalign.losses import LOSSES
from tests.losses.plain import PLAIN

SCORED = {"chosen": [0.22, 0.20, 0.21, 0.19, 0.25], "rejected": [0.20, 0.23, 0.21, 0.15, 0.24]}
"""One scorer's values: it agrees with the label, contradicts it, sees a tie, agrees, agrees."""
PAIRS = [
    Pair(
        *(f"p{i}", "a fox", "a.png", "b.png", p),
        scores={side: {"pickscore": values[i]} for side, values in SCORED.items()},
        source=f"pairs.csv:{i + 2}",
    )
    for i, p in enumerate([1.0, 0.7, 0.5, 0.0, 0.9])
]
TRIES = {
    "hard": {},
    "label_noise": {"flip": 0.1},
    "column": {},
    "seppo_gate": {},
    "score_scaled": {"scorer": "pickscore"},
}
"""Settings to try each label with; a label without an entry fails its battery."""


def made(name, pairs=None, **settings):
    """A label by name for these pairs, or for :data:`PAIRS`."""
    function = LABELS[name]
    settings = {**TRIES[name], **settings}
    if "ranges" in inspect.signature(function).parameters:
        settings["ranges"] = {"pickscore": (0.1, 0.3)}
    return function(PAIRS if pairs is None else pairs, **settings)


def label(probability=1.0, weight=1.0, scale=None, gate=None, count=None, relabels=False):
    """A label of numbers or lists; a gate as a list too."""
    given = (probability, weight, scale, gate)
    count = count or max(len(x) for x in given if isinstance(x, list))
    full = lambda x: torch.tensor(x if isinstance(x, list) else [x] * count, dtype=torch.float64)
    gates = None if gate is None else (lambda batch: full(gate))
    return Label(full(probability), full(weight), None if scale is None else full(scale), gates, relabels)


def _bound(name, row):
    hyper = {**PLAIN[name].settings[0], **({"beta": 1.5} if "beta" in row.limits else {})}
    if row.is_pure_margin and not row.bind(**hyper).scale_is_beta:
        hyper["relative"] = True  # otherwise a scale is no beta, and refused
    return row.bind(**hyper)


BOUND = [pytest.param(_bound(name, row), id=name) for name, row in LOSSES.items()]
"""Every loss with a beta that ordinary margins bend at."""
AGAINST_A_REFERENCE = [case for case in BOUND if case.values[0].loss.is_pure_margin]
"""Those that look at two logratios and at nothing else."""
