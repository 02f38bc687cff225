"""VideoScore: a vision-language model that reads frames of a clip with its prompt and grades five qualities, 1 to 4.

    (s_1, ..., s_5) = W h + b,      h: last state after instruction and frames
    score = mean of the five, or one of: visual, temporal, dynamic, alignment, factual

    network    published as                  frames                                           order
    Idefics2   VideoScore, VideoScore-v1.1   all up to 16; to 48 where the name ends in v1.1  instruction, frames
    Qwen2-VL   VideoScore-Qwen2-VL           8 for each second of the clip                    frames, instruction

Which of the two a folder holds is read from its ``config.json``. No score is a logit: the model was trained to predict
people's grades, by squared error. The published example clip has visual to factual 2.297, 2.469, 2.906, 2.766, 2.516
with VideoScore, and 2.328, 2.484, 2.562, 1.969, 2.594 with v1.1.

Source: He et al. 2024 (arXiv 2406.15252), section 4; frames and instruction from the authors' released code.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from diffalign.data.media.clips.frame_rule import FrameRule
from diffalign.errors import UserError
from diffalign.files.complete_weights import AGAIN, one_sentence
from diffalign.scorers.clips.clip_input import as_clip
from diffalign.scorers.clips.judged_quality import split_argument
from diffalign.scorers.scorer import check_prompt_count
from diffalign.scorers.vision_language.build import head_layer, refuse_other_tensors
from diffalign.scorers.vision_language.checkpoint import (
    idefics2_keys,
    local_folder,
    qwen2_vl_keys,
    read_state,
    take_head,
    weight_files,
)
from diffalign.scorers.vision_language.frames import ByRate, UpTo
from diffalign.scorers.vision_language.idefics2 import Idefics2
from diffalign.scorers.vision_language.instruction import instruction
from diffalign.scorers.vision_language.network_and_head import NetworkAndHead
from diffalign.scorers.vision_language.qwen2_vl import SETTINGS, VIDEO, Qwen2VL
from diffalign.scorers.vision_language.qwen2_vl_pixels import PAIR, clip_patches

MODEL = "TIGER-Lab/VideoScore-v1.1"
QUALITIES = ("visual", "temporal", "dynamic", "alignment", "factual")
FILES = ("model.safetensors.index.json", "model.safetensors")
FPS = 8.0
LEAST_PIXELS, MOST_PIXELS, ALL_PIXELS = 128 * 28 * 28, 768 * 28 * 28, 24576 * 28 * 28
"""Pixels of a frame at least and at most, and of all frames together, under Qwen2-VL."""


class VideoScore(NetworkAndHead):
    """VideoScore as a scorer.

    Args:
        network: The trunk.
        head: From its last state to five grades.
        most: Frames of a clip under Idefics2.
        quality: One of :data:`QUALITIES`; empty for their mean.
        name: Its name in reports.
    """

    head: nn.Module
    medium = "video"
    unit = "grade, 1 to 4"
    range = (float("-inf"), float("inf"))
    license = "see the model's page"
    paper = "arXiv 2406.15252"

    def __init__(
        self,
        network: Qwen2VL | Idefics2,
        head: nn.Module,
        *,
        most: int = 16,
        quality: str = "",
        name: str = "video_score",
    ) -> None:
        self.network, self.head, self.quality, self.name = network, head, quality, name
        self.rule: FrameRule = UpTo(most=most)
        self.least = 1
        self.preprocessing = f"Idefics2, up to {most} frames, bilinear"
        self._state: Callable[[str, np.ndarray], Tensor] = self._idefics2_state
        if isinstance(network, Qwen2VL):
            self.rule, self.preprocessing = ByRate(rate=FPS), f"Qwen2-VL, {FPS:g} fps, bicubic"
            self.least = PAIR
            self._state = self._qwen2_vl_state

    @classmethod
    def load(cls, argument: str = "", device: str = "cpu") -> VideoScore:
        """Loads the published weights, or those of a folder or hub id.

        Args:
            argument: ``QUALITY``, ``FOLDER`` or ``QUALITY:FOLDER``; empty for the mean of the five under v1.1.
            device: The device.

        Raises:
            UserError: There are no such weights, or they are not those of a VideoScore; it names the tensors.
        """
        from transformers import AutoConfig

        quality, source = split_argument(argument, QUALITIES)
        source = source or MODEL
        folder = local_folder(source, ("*.safetensors", FILES[0], "preprocessor_config.json", *SETTINGS))
        with one_sentence(f"Cannot load the configuration of '{source}'", UserError, AGAIN):
            config = AutoConfig.from_pretrained(folder)
        if config.model_type not in ("idefics2", "qwen2_vl"):
            raise UserError(
                f"'{source}' is a {config.model_type}, and video_score needs an Idefics2 or a Qwen2-VL with five "
                f"grades, as in --scorer video_score:{MODEL}"
            )
        is_qwen = config.model_type == "qwen2_vl"
        state = (qwen2_vl_keys if is_qwen else idefics2_keys)(read_state(weight_files(folder, FILES)))
        head = _head(take_head(state, "score"), source).to(device)
        network: Qwen2VL | Idefics2
        if is_qwen:
            network = Qwen2VL.load(str(folder), state, (), source=source, device=device)
        else:
            network = Idefics2.load(folder, config, state, source=source, device=device)
        name = f"video_score:{argument}" if argument else "video_score"
        return cls(network, head, most=_most_frames(source), quality=quality, name=name)

    def score(self, prompts: Sequence[str], clips: Sequence[Any]) -> Tensor:
        """Returns the grade, or the mean of the five, ``(B,)`` float32; one clip is in memory at a time."""
        grades = self.grades(prompts, clips)
        return grades[:, QUALITIES.index(self.quality)] if self.quality else grades.mean(dim=1)

    @torch.no_grad()
    def grades(self, prompts: Sequence[str], clips: Sequence[Any]) -> Tensor:
        """Returns the five grades, ``(B, 5)`` float32."""
        check_prompt_count(prompts, clips)
        self.check_prompts(prompts)
        rows = [torch.zeros(len(QUALITIES))]
        for prompt, sample in zip(prompts, clips, strict=True):
            frames = as_clip(sample, min_frames=self.least, scorer=self.name, rule=self.rule).frames
            rows.append(self.head(self._state(instruction("video_score", prompt), frames)).cpu())
        return torch.stack(rows)[1:]

    def _idefics2_state(self, text: str, frames: np.ndarray) -> Tensor:
        assert isinstance(self.network, Idefics2)
        return self.network.last_state(text, list(frames))

    def _qwen2_vl_state(self, text: str, frames: np.ndarray) -> Tensor:
        assert isinstance(self.network, Qwen2VL)
        most = max(min(MOST_PIXELS, ALL_PIXELS / len(frames) * 2), int(LEAST_PIXELS * 1.05))
        states, _ = self.network.states([text], [clip_patches(frames, LEAST_PIXELS, int(most))], VIDEO)
        return states[0, -1]


def _most_frames(source: str) -> int:
    return 48 if Path(source).name.lower().endswith("v1.1") else 16


def _head(tensors: dict[str, Tensor], source: str) -> nn.Module:
    width = tensors["weight"].shape[-1] if "weight" in tensors else 0
    count = len(QUALITIES)
    bias = {"bias": (count,)} if "bias" in tensors else {}
    refuse_other_tensors(
        {"weight": (count, width), **bias}, tensors, f"{source} does not hold the head of a VideoScore (score)"
    )
    return head_layer(tensors)
