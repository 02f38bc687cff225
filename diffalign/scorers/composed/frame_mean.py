"""Frame mean: any scorer of images, applied to every frame of a clip and averaged.

    score_b = (1 / F) sum over f of score(c_b, x_{b,f})

`frames:clip:FOLDER` is the frame-mean CLIP score: the mean of the frames' cosines, not the cosine of the mean
embedding. It is blind to the order of the frames: a clip that is played backwards, or shuffled, has the same score, and
so may have a still clip. Put a measure of motion beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from diffalign.errors import UserError
from diffalign.scorers.clips.clip_input import as_clip
from diffalign.scorers.compare import ComparesByScore
from diffalign.scorers.scorer import Scorer, SupportsPromptCheck, check_prompt_count, reads_prompt

EXAMPLE = "frames:clip:openai/clip-vit-large-patch14"


class FrameMean(ComparesByScore):
    """The mean score of a clip's frames.

    Args:
        scorer: A scorer of images.
    """

    medium = "video"

    def __init__(self, scorer: Scorer) -> None:
        self.scorer, self.name = scorer, f"frames:{scorer.name}"
        self.scorers = (scorer,)  # what it is made of, for checks of held-out judges
        self.unit, self.range = f"{scorer.unit}, mean over frames", scorer.range
        self.license, self.paper = scorer.license, scorer.paper
        self.preprocessing, self.reads_prompt = scorer.preprocessing, reads_prompt(scorer)
        self.logits_per_unit = getattr(scorer, "logits_per_unit", None)

    @classmethod
    def load(cls, argument: str, device: str, load_scorer: Callable[[str, str], Scorer]) -> FrameMean:
        """Loads the scorer of images that ``argument`` names, with its own argument after a colon.

        Raises:
            UserError: There is no such scorer, or it scores no images.
        """
        if not argument:
            raise UserError(f"frames needs a scorer of images, which it applies to every frame: write {EXAMPLE}")
        scorer = load_scorer(argument, device)
        if scorer.medium != "image":
            raise UserError(
                f"frames applies a scorer of images to every frame, and '{argument}' scores another medium. Write for "
                f"example {EXAMPLE}"
            )
        return cls(scorer)

    @property
    def weights(self) -> str:
        """Hash of the scorer's parameters."""
        return self.scorer.weights

    def check_prompts(self, prompts: Sequence[Any]) -> None:
        """Raises :class:`DataError` for a prompt that the scorer of images cannot score."""
        if isinstance(self.scorer, SupportsPromptCheck):
            self.scorer.check_prompts(prompts)

    def score(self, prompts: Sequence[Any], clips: Sequence[Any]) -> Tensor:
        """Returns the means, ``(B,)`` float32; one clip is in memory at a time."""
        check_prompt_count(prompts, clips)
        means = []
        for prompt, sample in zip(prompts, clips, strict=True):
            frames = list(as_clip(sample, scorer=self.name).frames)
            means.append(self.scorer.score([prompt] * len(frames), frames).double().mean())
        return torch.tensor(means, dtype=torch.float32)
