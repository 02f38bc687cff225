"""Judges of the stated motion, as scorers for recipes: `plugins: [pipelines.embedded_motion.motion_facts]`.

    motion_facts:centroid   from the object's place and size; the judge that made the drawn pairs. Score -2 to 1
    motion_facts:FOLDER     the probability of the stated motion by the network in FOLDER; it had no part in any pair
    motion_facts:phase      1 or 0, the direction by phase correlation (OpenCV); no opinion on growing clips

The three share no code. A clip is a hit if the judge names the stated motion.
"""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import diffalign
from diffalign.errors import DataError, UserError
from diffalign.scorers.clips.clip_input import as_clip
from diffalign.scorers.scorer import ScorerEntry, check_prompt_count, state_hash
from pipelines.embedded_motion import centroid, motion_net, motions, phase


class MotionJudge:
    """What the three judges share: the prompts that they read, and how they take clips.

    Args:
        name: Its name in reports.
    """

    medium, license, paper = "video", "Apache-2.0", "pipelines/embedded_motion/motion_facts.py"
    unit = "share"
    range = (0.0, 1.0)
    weights = ""
    speaks_of: tuple[str, ...] = motions.MOTIONS

    def __init__(self, name: str) -> None:
        self.name = name

    def check_prompts(self, prompts: Sequence[str]) -> None:
        """Raises :class:`DataError` for a prompt outside the grammar, or with a motion that the judge cannot see."""
        for prompt in prompts:
            try:
                shot = motions.parse(prompt)
            except ValueError as error:
                raise DataError(f"{self.name} reads prompts of the embedded video model only: {error}") from None
            if shot.motion not in self.speaks_of:
                seen = ", ".join(self.speaks_of)
                raise DataError(f"{self.name} sees {seen}, and nothing of '{shot.motion}': leave out '{prompt}'.")

    def score(self, prompts: Sequence[str], samples: Sequence[Any]) -> Tensor:
        """Returns how well each clip shows its motion, ``(B,)`` float32."""
        return self.scores_and_hits(prompts, samples)[0]

    def scores_and_hits(self, prompts: Sequence[str], samples: Sequence[Any]) -> tuple[Tensor, Tensor]:
        """Returns the scores, and whether each clip shows its motion."""
        check_prompt_count(prompts, samples)
        self.check_prompts(prompts)
        pairs = [self.judge(motions.parse(p).motion, as_clip(s).frames) for p, s in zip(prompts, samples, strict=True)]
        scores, hits = [score for score, _ in pairs], [hit for _, hit in pairs]
        return torch.tensor(scores, dtype=torch.float32), torch.tensor(hits, dtype=torch.bool)

    def judge(self, motion: str, frames: Any) -> tuple[float, bool]:
        """Returns score and hit of one clip ``(F, 64, 64, 3)`` uint8."""
        raise NotImplementedError


class CentroidJudge(MotionJudge):
    """See `pipelines.embedded_motion.centroid`."""

    unit, range = "share of the possible way", (-2.0, 1.5)

    def judge(self, motion: str, frames: Any) -> tuple[float, bool]:
        """Returns score and hit of one clip."""
        seen = centroid.look(frames)
        return centroid.score(motion, seen), seen.motion == motion


class PhaseJudge(MotionJudge):
    """See `pipelines.embedded_motion.phase`."""

    speaks_of = (*motions.DIRECTIONS, "still")

    def judge(self, motion: str, frames: Any) -> tuple[float, bool]:
        """Returns score and hit of one clip."""
        hit = phase.direction(frames) == motion
        return float(hit), hit


class NetJudge(MotionJudge):
    """See `pipelines.embedded_motion.motion_net`.

    Args:
        name: Its name in reports.
        folder: Folder of the network.
    """

    unit = "probability"

    def __init__(self, name: str, folder: Path) -> None:
        super().__init__(name)
        self.net = motion_net.MotionNet.from_pretrained(folder)

    @cached_property
    def weights(self) -> str:  # type: ignore[override]
        """Hash of the parameters."""
        return state_hash(self.net.state_dict())

    def judge(self, motion: str, frames: Any) -> tuple[float, bool]:
        """Returns score and hit of one clip."""
        row, stated = motion_net.probabilities(self.net, frames[None])[0], self.net.names.index(motion)
        return float(row[stated]), int(row.argmax()) == stated


def load(argument: str, device: str = "cpu") -> MotionJudge:
    """Returns the judge of an argument: ``centroid``, ``phase`` or the folder of the network."""
    name = f"motion_facts:{argument}"
    if argument in ("centroid", "phase"):
        return CentroidJudge(name) if argument == "centroid" else PhaseJudge(name)
    if not (Path(argument) / "config.json").is_file():
        raise UserError(
            f"motion_facts judges by 'centroid', by 'phase' or by the network in a folder; '{argument}' is none of "
            "them. Write motion_facts:assets/emoji/scorers/motion."
        )
    return NetJudge(name, Path(argument))


diffalign.register_scorer(
    "motion_facts",
    ScorerEntry(load, "centroid, phase, or FOLDER", "the motion that an embedded prompt states", medium="video"),
)
