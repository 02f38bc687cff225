"""Records that readers yield, the same for every format. A pair is one comparison of two candidates."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from diffalign.data.records.conversation import Text
from diffalign.data.records.to_sample import ToSample
from diffalign.data.storage.cached_candidate import CachedCandidate
from diffalign.data.storage.frame_files import FrameFiles
from diffalign.data.storage.kept_latents import KeptLatent
from diffalign.data.storage.lazy_table_cell import TableCell

Media = Path | bytes | Text | TableCell | FrameFiles | CachedCandidate | KeptLatent | ToSample
"""A candidate: an image or clip as a path, as encoded bytes or as a handle of them (a clip also as its frames' files);
a text as a string or as turns; a handle of tensors: a sample that a policy made while training, or the latent of an
image that a model drew; or the place of a sample that it will make."""


@dataclass(frozen=True)
class Answer:
    """A candidate and its prompt.

    Args:
        candidate: The candidate.
        prompt: Its own prompt; None for that of its pair.
    """

    candidate: Media
    prompt: Text | None = None


@dataclass(frozen=True)
class Pair:
    """One comparison.

    Args:
        id: Unique and stable within its data set: random draws and caches depend on it.
        prompt: The prompt of both candidates.
        chosen: The preferred candidate.
        rejected: The other one; None for a single example: a winner, or a candidate labelled on its own.
        probability: Probability that ``chosen`` is the better one, in [0, 1]; 1 for a plain vote.
        scores: Numbers stored with the pair: rewards as ``{"chosen": {scorer: value}, "rejected": {...}}``, and under
            ``"pair"`` numbers of the pair as a whole (a margin, a seed; ``first_won`` where the data states which slot
            won). Scores of further answers are stored under their role.
        desirable: For a single example: whether the model should learn ``chosen``, or (False) avoid it.
        source: Where the row came from, for messages: ``"file:row"``.
        rejected_prompt: The prompt of the rejected candidate where it differs; None where it is the same.
        further: Additional answers by role. "2", "3", ... are those between best and worst of a ranked list, by rank;
            other roles are named by the loss that reads them ("gold", "calibration", "rationale").
        group: The annotator or domain of the label; "" where it is unknown.
        frame_weights: How much each frame of both clips counts in their errors, 0 or more, see `frame_weights`; ():
            all count alike.
        silent: Whether the pair is left out of the loss: its place in the data stays, its weight is 0. So are the pairs
            of a prompt whose answers a judge does not tell apart.
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
    frame_weights: tuple[float, ...] = ()
    silent: bool = False

    @property
    def answers(self) -> dict[str, Answer]:
        """Every candidate by role: "chosen", "rejected" where there is one, then the further answers."""
        answers = {"chosen": Answer(self.chosen)}
        if self.rejected is not None:
            answers["rejected"] = Answer(self.rejected, self.rejected_prompt)
        return {**answers, **self.further}

    def prompt_of(self, role: str) -> Text:
        """Returns the prompt of the candidate with this role."""
        prompt = self.answers[role].prompt
        return self.prompt if prompt is None else prompt


@dataclass(frozen=True)
class Dropped:
    """A row that is left out of training, with the reason. Every dropped row is reported."""

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
BAD_IMAGE = "unreadable image"
BAD_CLIP = "unreadable clip"
DISPUTED = "label against its scores"
FILTERED = "filtered by your options"


@dataclass(frozen=True)
class PairSet:
    """A data set as a reader returns it.

    Args:
        pairs: The comparisons, in the order of the data: a list, or a lazy sequence where there are many.
        dropped: The rows left out, each with its reason.
        format: The reader's name.
        source: The path or Hub id that was read.
        ranges: Smallest and largest score by scorer, for min-max normalisation: over the whole table where the scores
            come from a file, over the pairs that were read where they are columns.
        unread: Columns of the source that were not read, and fields of its messages as ``"prompt[].name"``.
    """

    pairs: Sequence[Pair]
    dropped: list[Dropped] = field(default_factory=list)
    format: str = ""
    source: str = ""
    ranges: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    unread: Sequence[str] = ()

    def __len__(self) -> int:
        return len(self.pairs)

    def reasons(self) -> dict[str, int]:
        """Counts the dropped rows by reason, the most frequent first."""
        return dict(Counter(row.reason for row in self.dropped).most_common())

    def summary(self) -> str:
        """Returns one line: ``"1,024 pairs from 'votes' (pickapic); dropped 132: 130 tie, 2 empty prompt"``."""
        line = f"{len(self.pairs):,} {pairs_noun(self.pairs)} from '{self.source}' ({self.format})"
        if not self.dropped:
            return line
        return f"{line}; dropped {len(self.dropped):,}: " + ", ".join(
            f"{n:,} {why}" for why, n in self.reasons().items()
        )


def pairs_noun(pairs: Sequence[Pair]) -> str:
    """Returns the noun for these rows: ``"pairs"``; for single examples ``"winners"``, or ``"examples"`` where some are
    undesirable.
    """
    if not pairs or any(pair.rejected is not None for pair in pairs):
        return "pairs"
    return "winners" if all(pair.desirable for pair in pairs) else "examples"
