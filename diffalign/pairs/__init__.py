"""Sources of pairs: where the comparisons of a run come from.

A new source is one function from a :class:`~diffalign.pairs.dataset.DatasetPairs` and its settings to a
:class:`~diffalign.pairs.source.PairSource`, one import line and one row here.
"""

from collections.abc import Callable

from diffalign.pairs.checkpoint_samples import checkpoint
from diffalign.pairs.dataset import DatasetPairs, dataset, from_memory, read_dataset
from diffalign.pairs.drafts import drafts
from diffalign.pairs.lists import lists
from diffalign.pairs.rationales import rationales
from diffalign.pairs.rounds.build import rounds
from diffalign.pairs.singles import singles
from diffalign.pairs.source import PairSource, RoundContext
from diffalign.pairs.winners import winners

PAIRS: dict[str, Callable[..., PairSource]] = {
    "dataset": dataset,
    "lists": lists,
    "drafts": drafts,
    "rationales": rationales,
    "singles": singles,
    "winners": winners,
    "checkpoint": checkpoint,
    "rounds": rounds,
}
"""Every source by name; the first is the default. Each takes :class:`DatasetPairs`, and its settings as keywords."""

__all__ = [
    "PAIRS",
    "DatasetPairs",
    "PairSource",
    "RoundContext",
    "checkpoint",
    "dataset",
    "drafts",
    "from_memory",
    "lists",
    "rationales",
    "read_dataset",
    "rounds",
    "singles",
    "winners",
]
