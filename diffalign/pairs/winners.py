"""Only the chosen candidates of a dataset, for losses on single examples such as supervised fine-tuning."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from diffalign.data.records.lazy_pairs import filter_pairs, map_pairs
from diffalign.data.records.pair import Pair
from diffalign.errors import DataError
from diffalign.pairs.dataset import DatasetPairs, count_prompts, without_middle_ranks
from diffalign.pairs.source import FixedPairs


@dataclass(frozen=True)
class WinnerPairs(FixedPairs):
    """Rows with a prompt and its chosen candidate, fixed for the whole run.

    Args:
        pairs: The rows, see :func:`without_rejected`.
        source: Where they came from and what was dropped, for the header.
    """

    pairs: Sequence[Pair]
    source: str = "pairs in memory"

    def summary(self) -> str:
        """Returns one line: how many winners, how many prompts, what was dropped and why."""
        return f"{len(self)} winners on {count_prompts(self.pairs)} prompts from {self.source}"


def without_rejected(pair: Pair) -> Pair:
    """Returns the pair without its rejected candidate, the label's probability, and scores other than the chosen one's.

    The rejected candidate's scores must go: if another candidate takes its place, they would be taken for its own.
    """
    chosen_scores = {role: scores for role, scores in pair.scores.items() if role == "chosen"}
    return replace(without_middle_ranks(pair), rejected=None, probability=1.0, scores=chosen_scores)


def winners(data: DatasetPairs) -> WinnerPairs:
    """``pairs: winners``: the chosen candidates of a dataset.

    There is one row per pair, so a candidate that won twice occurs twice. Single examples that are not desirable are
    left out.

    Raises:
        DataError: No row is left.
    """
    desirable = filter_pairs(data.pairs, lambda pair: pair.desirable)
    if not desirable:
        raise DataError(
            f"{data.name}: none of {len(data)} examples is desirable, so there is no winner among them. Check whether "
            "the labels are reversed; a loss for both kinds needs some of each."
        )
    left_out = len(data) - len(desirable)
    note = f"; left out: {left_out} undesirable" if left_out else ""
    return WinnerPairs(map_pairs(desirable, without_rejected), data.origin + note)
