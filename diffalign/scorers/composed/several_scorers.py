"""What scorers that are made of several others have in common: one medium, their licences, papers and hashes."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

from diffalign.errors import ConfigError
from diffalign.scorers.compare import ComparesByScore
from diffalign.scorers.scorer import Scorer, SupportsPromptCheck, reads_prompt


class SeveralScorers(ComparesByScore):
    """The fields of a scorer that its parts determine.

    Args:
        name: Its name in reports.
        scorers: The parts, all of one medium.
        paper: The paper of the composition.

    Raises:
        ConfigError: The parts score different media.
    """

    def __init__(self, name: str, scorers: Sequence[Scorer], paper: str) -> None:
        media = {scorer.medium: scorer.name for scorer in scorers}
        if len(media) > 1:
            raise ConfigError(
                f"{name} is made of scorers of different media: "
                f"{', '.join(f'{scorer} of medium {medium}' for medium, scorer in media.items())}. Name scorers of one."
            )
        self.name, self.scorers, self.medium = name, tuple(scorers), scorers[0].medium
        self.reads_prompt = any(map(reads_prompt, scorers))
        self.license = _joined(scorer.license for scorer in scorers)
        self.paper = _joined([paper, *(scorer.paper for scorer in scorers)])
        done = {
            scorer.name: getattr(scorer, "preprocessing", "") for scorer in scorers
        }  # one of the user's may lack it
        self.preprocessing = _joined(f"{part}: {what}" for part, what in done.items() if what)

    @property
    def weights(self) -> str:
        """Hash of the parts' names and parameters and of :meth:`settings`: another number is another scorer."""
        parts = [f"{scorer.name} {scorer.weights}" for scorer in self.scorers]
        return hashlib.sha256("\n".join([*parts, self.settings()]).encode()).hexdigest()[:16]

    def settings(self) -> str:
        """Returns what besides its parts determines a score."""
        raise NotImplementedError

    def check_prompts(self, prompts: Sequence[Any]) -> None:
        """Raises :class:`DataError` for a prompt that one of the parts cannot score."""
        for scorer in self.scorers:
            if isinstance(scorer, SupportsPromptCheck):
                scorer.check_prompts(prompts)


def _joined(texts: Any) -> str:
    return "; ".join(dict.fromkeys(filter(None, texts)))
