"""A scorer that adds a background colour to the prompts, for a preference that no prompt states."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from torch import Tensor

from diffalign.scorers import Scorer
from diffalign.scorers.display_name import display_name
from pipelines.embedded.scenes import parse


class BackgroundPromptScorer:
    """Scores images against their prompts with a background colour added: "two foxes on a yellow background" for
    "two foxes". So a general scorer, which never saw the pairs, measures whether the model learnt a colour that no
    prompt names, and whether the rest of the image still fits.

    Args:
        scorer: Scores images against the completed prompts.
        colour: A colour of the embedded scenes.
    """

    def __init__(self, scorer: Scorer, colour: str) -> None:
        self._scorer, self._colour = scorer, colour
        self.name = f"{display_name(scorer.name)}, {colour} background"
        self.unit, self.range, self.medium = scorer.unit, scorer.range, scorer.medium
        self.license, self.paper = scorer.license, scorer.paper

    @property
    def weights(self) -> str:
        """Hash of the scorer's parameters."""
        return self._scorer.weights

    def score(self, prompts: Sequence[str], images: Sequence[Any]) -> Tensor:
        """Returns ``(B,)``, higher is better."""
        completed = {prompt: replace(parse(prompt), background=self._colour).prompt for prompt in set(prompts)}
        return self._scorer.score([completed[prompt] for prompt in prompts], images)
