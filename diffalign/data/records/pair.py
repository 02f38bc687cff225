"""Records: what a reader yields, whatever the format it read. One pair is one judgement between two candidates."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from diffalign.data.records.conversation import Text
from diffalign.data.storage.cached_candidate import CachedCandidate
from diffalign.data.storage.table_cell import TableCell

Media = Path | bytes | Text | TableCell | CachedCandidate
"""A candidate: an image or clip as a path, as encoded bytes or as a handle on them; a text as a string or as turns; or
what a policy made while training, as a handle on its tensors."""


@dataclass(frozen=True)
class Answer:
    """A candidate and what it answers.

    Args:
        candidate: The candidate.
        prompt: Its own prompt; None for the one of its pair.
    """

    candidate: Media
    prompt: Text | None = None


@dataclass(frozen=True)
class Pair:
    """One comparison.

    Args:
        id: Unique and stable within its data set: draws and caches are keyed by it.
        prompt: What both candidates answer.
        chosen: The preferred candidate.
        rejected: The other one; None where an example is single: a winner, or a candidate judged for itself.
        probability: How likely it is that ``chosen`` is truly the better one, in [0, 1]; 1 for a plain vote.
        scores: Numbers stored with the pair: rewards as ``{"chosen": {scorer: value}, "rejected": {...}}``, and under
            ``"pair"`` what belongs to both (a margin, a seed; ``first_won`` where the data says which slot won).
            Further answers have theirs under their role.
        desirable: Of a single example: whether ``chosen`` is to be learnt, or (False) to be avoided.
        source: Where the row came from, for messages: ``"file:row"``.
        rejected_prompt: What the rejected candidate answers, where that is another prompt; None: the same.
        further: More answers by role: "2", "3", ... are those between best and worst of a ranked list, by rank; others
            go by what a loss calls them ("gold", "calibration", "rationale").
        group: Whose judgement it is, or from which domain; "" where nobody said.
    """

    id: str
    prompt: Text
    chosen: Media
    rejected: Media | None
    probability: float = 1.0
    scores: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    source: str = ""
    desirable: bool = True
    rejected_prompt: Text | None = None
    further: Mapping[str, Answer] = field(default_factory=dict)
    group: str = ""

    @property
    def answers(self) -> dict[str, Answer]:
        """Every candidate by role: "chosen", "rejected" where there is one, then the further ones."""
        found = {"chosen": Answer(self.chosen)}
        if self.rejected is not None:
            found["rejected"] = Answer(self.rejected, self.rejected_prompt)
        return {**found, **self.further}

    def prompt_of(self, role: str) -> Text:
        """What the candidate of a role answers."""
        own = self.answers[role].prompt
        return self.prompt if own is None else own


@dataclass(frozen=True)
class Dropped:
    """A row that is not trained on, and why: nothing is dropped in silence."""

    source: str
    reason: str
    detail: str = ""


TIE = "tie"
IDENTICAL = "identical candidates"
EMPTY_PROMPT = "empty prompt"
EMPTY_CANDIDATE = "empty candidate"
BAD_TURNS = "malformed conversation"
MISSING_FILE = "missing file"
OUTSIDE = "file outside the folder"
NO_LABEL = "no label"
BAD_LABEL = "bad label"
BAD_ROW = "unreadable row"
FILTERED = "filtered by your options"


@dataclass(frozen=True)
class PairSet:
    """A data set that was read: what is kept, what is not, and in which format it came.

    Args:
        pairs: The comparisons, in the order of the data: a list, or a lazy sequence where there are many.
        dropped: The rows left out, each with its reason.
        format: The reader's name.
        source: The path or Hub id that was read.
        ranges: Smallest and largest score of the data by scorer: of the whole table where the scores come from a file,
            of what was read where they are columns. What min-max normalisation needs.
    """

    pairs: Sequence[Pair]
    dropped: list[Dropped] = field(default_factory=list)
    format: str = ""
    source: str = ""
    ranges: Mapping[str, tuple[float, float]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.pairs)

    def reasons(self) -> dict[str, int]:
        """How many rows were dropped for which reason, the most frequent first."""
        return dict(Counter(row.reason for row in self.dropped).most_common())

    def summary(self) -> str:
        """One line: ``"1,024 pairs from 'votes' (pickapic); dropped 132: 130 tie, 2 empty prompt"``."""
        line = f"{len(self.pairs):,} {pairs_noun(self.pairs)} from '{self.source}' ({self.format})"
        if not self.dropped:
            return line
        return f"{line}; dropped {len(self.dropped):,}: " + ", ".join(
            f"{n:,} {why}" for why, n in self.reasons().items()
        )


def pairs_noun(pairs: Sequence[Pair]) -> str:
    """What to call the rows: ``"pairs"``; singles are ``"winners"``, or ``"examples"`` where some are to be avoided."""
    if not pairs or any(pair.rejected is not None for pair in pairs):
        return "pairs"
    return "winners" if all(pair.desirable for pair in pairs) else "examples"
