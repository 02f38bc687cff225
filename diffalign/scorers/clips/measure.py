"""Measures: scorers that compute one number from a clip alone. They read no prompt and have no weights."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from typing_extensions import Self

from diffalign.errors import UserError
from diffalign.scorers.clips.clip_input import Clip, as_clip
from diffalign.scorers.compare import ComparesByScore
from diffalign.scorers.scorer import check_prompt_count


class Measure(ComparesByScore, ABC):
    """A measure as a scorer; a subclass states what it measures and computes it."""

    medium = "video"
    reads_prompt = False
    license = "Apache-2.0"
    weights = ""
    range = (0.0, 1.0)
    kind: str
    unit: str
    paper: str
    min_frames: int

    def __init__(self) -> None:
        self.name = self.kind

    @classmethod
    def load(cls, argument: str = "", device: str = "cpu") -> Self:
        """Builds the scorer for the registry; it uses no device."""
        if argument:
            raise UserError(f"{cls.kind} takes no argument; got '{argument}'. Write: --scorer {cls.kind}")
        return cls()

    @abstractmethod
    def measure(self, clip: Clip) -> float:
        """Computes the score of a clip of :attr:`min_frames` frames or more."""

    def score(self, prompts: Sequence[Any], clips: Sequence[Any]) -> Tensor:
        """Returns the scores, ``(B,)`` float32; one clip is in memory at a time."""
        check_prompt_count(prompts, clips)
        values = [self.measure(as_clip(clip, min_frames=self.min_frames, scorer=self.name)) for clip in clips]
        return torch.tensor(values, dtype=torch.float32)
