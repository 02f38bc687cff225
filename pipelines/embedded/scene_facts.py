"""The facts that a prompt of the grammar states, as scorers for recipes: `plugins: [pipelines.embedded.scene_facts]`.

    scene_facts:pixels       score: how many of count, background and place are right, 0 to 3; hit: all of them
    scene_facts:place        0 or 1 for one of them: count, background or place
    scene_facts:RECOGNISER   0 to 4; the subject is that of the classifier in the folder RECOGNISER

What a prompt leaves unsaid counts as right. Count, background and place are read from the pixels (`measure`), which is
what made the preference pairs, so ``pixels`` is not a held-out judge; the recogniser had no part in them.
"""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor

import diffalign
from diffalign.errors import DataError, UserError
from diffalign.scorers.images.image_input import as_rgb
from diffalign.scorers.scorer import ScorerEntry, check_prompt_count, state_hash
from pipelines.embedded import measure, scenes


class SceneFacts:
    """Counts the facts that are right.

    Args:
        facts: Names of the pixels' facts to count.
        recogniser: Folder of the classifier of subjects; None counts no subject.
        name: Its name in reports.
    """

    medium, unit, license = "image", "facts", "Apache-2.0"
    paper = "pipelines/embedded/scene_facts.py"

    def __init__(self, facts: Sequence[str], recogniser: Path | None, name: str) -> None:
        self.facts, self.recogniser, self.name = tuple(facts), recogniser, name
        self.range = (0.0, float(len(self.facts) + (recogniser is not None)))

    @cached_property
    def weights(self) -> str:
        """Hash of the recogniser's parameters; empty without one."""
        return state_hash(load_file(self.recogniser / "model.safetensors")) if self.recogniser else ""

    @classmethod
    def load(cls, argument: str, device: str = "cpu") -> "SceneFacts":
        """Reads the argument: ``pixels``, the name of one fact, or the recogniser's folder."""
        name = f"scene_facts:{argument}"
        if argument in ("pixels", *measure.PIXEL_FACTS):
            return cls(measure.PIXEL_FACTS if argument == "pixels" else [argument], None, name)
        if not (Path(argument) / "config.json").is_file():
            raise UserError(
                f"scene_facts counts pixels, {', '.join(measure.PIXEL_FACTS)} or the facts with the subject by a "
                f"recogniser; '{argument}' is none of them and no folder of a classifier. "
                "Write scene_facts:assets/emoji/scorers/recogniser."
            )
        return cls(measure.PIXEL_FACTS, Path(argument), name)

    def check_prompts(self, prompts: Sequence[str]) -> None:
        """Raises :class:`DataError` for a prompt outside the grammar."""
        for prompt in prompts:
            try:
                scenes.parse(prompt)
            except ValueError as error:
                raise DataError(f"{self.name} reads prompts of the embedded model's grammar only: {error}") from None

    def score(self, prompts: Sequence[str], images: Sequence[Any]) -> Tensor:
        """Returns how many facts are right, ``(B,)`` float32."""
        return self.scores_and_hits(prompts, images)[0]

    def scores_and_hits(self, prompts: Sequence[str], images: Sequence[Any]) -> tuple[Tensor, Tensor]:
        """Returns how many facts are right, and whether all of them are."""
        check_prompt_count(prompts, images)
        self.check_prompts(prompts)
        if not len(images):
            return torch.zeros(0), torch.zeros(0, dtype=torch.bool)
        pixels = np.stack([np.asarray(as_rgb(image)) for image in images])
        targets = [scenes.parse(prompt) for prompt in prompts]
        right = measure.pixel_facts(pixels, targets)
        columns = [right[name] for name in self.facts]
        if self.recogniser is not None:
            columns.append(measure.subject_fact(pixels, targets, self.recogniser))
        count = torch.from_numpy(np.sum(columns, axis=0)).float()
        return count, count == len(columns)


diffalign.register_scorer(
    "scene_facts",
    ScorerEntry(SceneFacts.load, "pixels, count, background, place, or RECOGNISER", "facts of the embedded grammar"),
)
