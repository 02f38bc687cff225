"""Winners alone: the chosen candidates of a data set, for losses on single examples such as supervised fine-tuning."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from diffalign.data.records.lazy import filter_pairs, map_pairs
from diffalign.data.records.pair import Pair
from diffalign.errors import DataError
from diffalign.pairs.dataset import DatasetPairs, best_and_worst, prompts, reasons
from diffalign.pairs.source import Fixed


@dataclass(frozen=True)
class WinnerPairs(Fixed):
    """Rows with a prompt and its chosen candidate, fixed for the whole run.

    Args:
        pairs: The winners, see :func:`winner`.
        source: Where they came from and what was dropped, for the header.
    """

    pairs: Sequence[Pair]
    source: str = "pairs in memory"

    def summary(self) -> str:
        """One line: how many winners, how many prompts, what was dropped and why."""
        return f"{len(self)} winners on {prompts(self.pairs)} prompts from {self.source}"


def winner(pair: Pair) -> Pair:
    """The pair without its loser, and without what was said of the two together (probability, scores of both).

    The loser's scores must go: where another candidate takes its place, they would be taken for that one's.
    """
    chosen = {role: values for role, values in pair.scores.items() if role == "chosen"}
    return replace(best_and_worst(pair), rejected=None, probability=1.0, scores=chosen)


def winners(data: DatasetPairs) -> WinnerPairs:
    """The data set's chosen candidates, ``pairs: winners``.

    One row per pair: a candidate that won twice is there twice, as often as it was preferred. Single examples that are
    not desirable are left out.

    Raises:
        DataError: Nothing else is there.
    """
    good = filter_pairs(data.pairs, lambda pair: pair.desirable)
    if not good:
        raise DataError(
            f"{data.name}: none of {len(data)} examples is desirable, so there is no winner among them. Look whether "
            "the labels are turned round; a loss for both kinds needs some of each."
        )
    left = len(data) - len(good)
    told = f"; left out: {left} undesirable" if left else ""
    return WinnerPairs(map_pairs(good, winner), data.name + reasons(data.dropped) + told)
