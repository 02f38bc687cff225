"""Records: what a reader yields, whatever the format it read. One pair is one judgement between two candidates."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

Media = Path | bytes | str
"""A candidate: a picture or clip as a path or as encoded bytes; a text as a string."""


@dataclass(frozen=True)
class Pair:
    """One comparison.

    Args:
        id: Unique and stable within its data set: draws and caches are keyed by it.
        prompt: What both candidates answer.
        chosen: The preferred candidate.
        rejected: The other one.
        probability: How likely it is that ``chosen`` is truly the better one, in [0, 1]; 1 for a plain vote.
        scores: Rewards stored with the pair, ``{"chosen": {scorer: value}, "rejected": {...}}``.
        source: Where the row came from, for messages: ``"file:row"``.
    """

    id: str
    prompt: str
    chosen: Media
    rejected: Media
    probability: float = 1.0
    scores: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    source: str = ""


@dataclass(frozen=True)
class Dropped:
    """A row that is not trained on, and why: nothing is dropped in silence."""

    source: str
    reason: str
    detail: str = ""
