"""Single examples: each candidate on its own, desirable or not, for losses that need no comparison (KTO)."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass, replace

from diffalign.data.records.lazy_pairs import LazyPairs
from diffalign.data.records.pair import Pair
from diffalign.pairs.dataset import DatasetPairs, count_prompts, without_middle_ranks
from diffalign.pairs.source import FixedPairs
from diffalign.pairs.winners import without_rejected


@dataclass(frozen=True)
class SingleExamples(FixedPairs):
    """Rows with a prompt and one candidate, desirable or not, fixed for the whole run.

    Args:
        pairs: The examples; see :func:`singles`.
        source: Where they came from and what was dropped, for the header.
    """

    pairs: Sequence[Pair]
    source: str = "pairs in memory"

    def summary(self) -> str:
        """Returns one line: how many examples, how many of them desirable, how many prompts, what was dropped."""
        desirable = sum(pair.desirable for pair in self.pairs)
        count = f"{len(self)} examples ({desirable} desirable, {len(self) - desirable} not)"
        return f"{count} on {count_prompts(self.pairs)} prompts from {self.source}"


def singles(data: DatasetPairs) -> SingleExamples:
    """``pairs: singles``: the candidates of a dataset one by one.

    A comparison gives two examples, its chosen candidate as a desirable one and its rejected one as an undesirable one,
    with the ids ``ID/chosen`` and ``ID/rejected``. A row that is a single example already stays as it is.
    """
    return SingleExamples(as_single_examples(data.pairs), data.origin)


def as_single_examples(pairs: Sequence[Pair]) -> Sequence[Pair]:
    """Returns every candidate as an example: a list, or a lazy sequence if ``pairs`` is one."""
    examples = _Examples(pairs)
    return examples if isinstance(pairs, LazyPairs) else list(examples)


class _Examples(LazyPairs):
    def __init__(self, pairs: Sequence[Pair]) -> None:
        self._pairs = pairs
        # Twice the index of the row, and one more for its rejected candidate.
        self._codes = array("Q")
        for index, pair in enumerate(pairs):
            self._codes.extend((2 * index,) if pair.rejected is None else (2 * index, 2 * index + 1))

    def __len__(self) -> int:
        return len(self._codes)

    def at(self, index: int) -> Pair:
        row, is_rejected = divmod(self._codes[index], 2)
        pair = self._pairs[row]
        if pair.rejected is None:
            return pair
        if not is_rejected:
            return replace(without_rejected(pair), id=f"{pair.id}/chosen")
        # The scores of an example are those of its only candidate, under the role "chosen".
        scores = {"chosen": pair.scores["rejected"]} if "rejected" in pair.scores else {}
        return replace(
            without_middle_ranks(pair),
            id=f"{pair.id}/rejected",
            chosen=pair.rejected,
            rejected=None,
            probability=1.0,
            scores=scores,
            desirable=False,
        )
