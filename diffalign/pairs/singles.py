"""Single examples: every candidate for itself, with a thumb up or down, for losses that need no comparison (KTO)."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass, replace

from diffalign.data.records.lazy import LazyPairs
from diffalign.data.records.pair import Pair
from diffalign.pairs.dataset import DatasetPairs, best_and_worst, prompts, reasons
from diffalign.pairs.source import Fixed
from diffalign.pairs.winners import winner


@dataclass(frozen=True)
class SingleExamples(Fixed):
    """Rows with a prompt and one candidate, desirable or not, fixed for the whole run.

    Args:
        pairs: The examples; see :func:`singles`.
        source: Where they came from and what was dropped, for the header.
    """

    pairs: Sequence[Pair]
    source: str = "pairs in memory"

    def summary(self) -> str:
        """One line: how many examples, how many of them desirable, how many prompts, what was dropped and why."""
        good = sum(pair.desirable for pair in self.pairs)
        judged = f"{good} desirable, {len(self) - good} not"
        return f"{len(self)} examples ({judged}) on {prompts(self.pairs)} prompts from {self.source}"


def singles(data: DatasetPairs) -> SingleExamples:
    """The data set's candidates one by one, ``pairs: singles``.

    A comparison gives two examples, its chosen candidate as a desirable one and its rejected one as an undesirable one,
    called ``ID/chosen`` and ``ID/rejected``. A row that is single already stays as it is.
    """
    return SingleExamples(one_by_one(data.pairs), data.name + reasons(data.dropped))


def one_by_one(pairs: Sequence[Pair]) -> Sequence[Pair]:
    """Every candidate as an example: in a list, or lazily of a lazy sequence."""
    examples = _Examples(pairs)
    return examples if isinstance(pairs, LazyPairs) else list(examples)


class _Examples(LazyPairs):
    def __init__(self, pairs: Sequence[Pair]) -> None:
        self._pairs = pairs
        # Twice the index of the row, and one more for its rejected candidate.
        self._places = array("Q")
        for index, pair in enumerate(pairs):
            self._places.extend((2 * index,) if pair.rejected is None else (2 * index, 2 * index + 1))

    def __len__(self) -> int:
        return len(self._places)

    def at(self, index: int) -> Pair:
        row, rejected = divmod(self._places[index], 2)
        pair = self._pairs[row]
        if pair.rejected is None:
            return pair
        if not rejected:
            return replace(winner(pair), id=f"{pair.id}/chosen")
        # Scores are those of the example's only candidate.
        scores = {"chosen": pair.scores["rejected"]} if "rejected" in pair.scores else {}
        loser = replace(
            best_and_worst(pair), chosen=pair.rejected, rejected=None, probability=1.0, scores=scores, desirable=False
        )
        return replace(loser, id=f"{pair.id}/rejected")
