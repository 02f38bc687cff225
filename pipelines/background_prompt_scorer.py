"""A judge that is told what a prompt leaves out: the background colour that training shall teach."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from torch import Tensor

from diffalign.scorers import Scorer
from pipelines.embedded.scenes import parse


class Told:
    """Scores images against their prompts with a background colour put in, "two foxes" as "two foxes on a yellow
    background". So a general judge of images and prompts, which never saw the pairs, can say whether a preference was
    learnt that no prompt states, and whether the rest of the image still fits.

    Args:
        judge: Asked with the completed prompt.
        colour: A colour of the embedded scenes.
    """

    def __init__(self, judge: Scorer, colour: str) -> None:
        self._judge, self._colour = judge, colour
        self.name = f"{judge.name}, told {colour}"
        self.unit, self.range, self.medium = judge.unit, judge.range, judge.medium
        self.license, self.paper = judge.license, judge.paper

    @property
    def weights(self) -> str:
        """Of the judge."""
        return self._judge.weights

    def score(self, prompts: Sequence[str], images: Sequence[Any]) -> Tensor:
        """``(B,)``, higher is better."""
        told = {prompt: replace(parse(prompt), background=self._colour).prompt for prompt in set(prompts)}
        return self._judge.score([told[prompt] for prompt in prompts], images)
