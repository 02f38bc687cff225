"""VideoReward: a Qwen2-VL of 2 billion parameters that reads a clip with its prompt and judges three qualities.

    z_d = w . state at <|d_reward|>,      score_d = (z_d - mean_d) / std_d,      d = VQ, MQ, TA
    score = score_VQ + score_MQ + score_TA,  or one of the three

VQ: visual quality, MQ: motion quality, TA: how well the clip fits its prompt. The means and deviations are those of the
released model, 3.6757 and 2.2476, 1.1646 and 1.3811, 2.8105 and 2.5121, and come from its ``model_config.json``. The
model sees two frames for each second of the clip: the clip's rate must be the true one.

Source: Liu et al. 2025 (arXiv 2501.13918), section 3; head, frames and instruction from the authors' released code.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from diffalign.scorers.clips.clip_input import as_clip
from diffalign.scorers.clips.judged_quality import split_argument
from diffalign.scorers.clips.video_reward_files import RewardSettings, read_reward_files
from diffalign.scorers.scorer import check_prompt_count
from diffalign.scorers.vision_language.build import refuse_other_tensors
from diffalign.scorers.vision_language.checkpoint import take_head
from diffalign.scorers.vision_language.frames import ByRate
from diffalign.scorers.vision_language.instruction import instruction
from diffalign.scorers.vision_language.network_and_head import NetworkAndHead
from diffalign.scorers.vision_language.qwen2_vl import VIDEO, Qwen2VL
from diffalign.scorers.vision_language.qwen2_vl_pixels import PAIR, clip_patches

MODEL = "KwaiVGI/VideoReward"
QUALITIES = ("VQ", "MQ", "TA")
MARKS = tuple(f"<|{quality}_reward|>" for quality in QUALITIES)
LEAST_PIXELS = 128 * 28 * 28
"""Pixels of a frame below which it is enlarged."""


class VideoReward(NetworkAndHead):
    """VideoReward as a scorer.

    Args:
        network: The trunk.
        head: ``(1, D)``, the same weights at all three marks, or ``(3, D)``, one row for each.
        settings: Frames a second, pixels of a frame, means and deviations.
        quality: One of :data:`QUALITIES`; empty for their sum.
        name: Its name in reports.
    """

    network: Qwen2VL
    head: Tensor
    medium = "video"
    range = (float("-inf"), float("inf"))
    license = "see the model's page"
    paper = "arXiv 2501.13918"

    def __init__(
        self, network: Qwen2VL, head: Tensor, settings: RewardSettings, *, quality: str = "", name: str = "video_reward"
    ) -> None:
        self.network, self.head, self.settings, self.quality, self.name = network, head, settings, quality, name
        self.unit = "standard deviations" if quality else "standard deviations, sum of three"
        self.rule = ByRate(rate=settings.fps)
        self.preprocessing = f"Qwen2-VL, {settings.fps:g} fps, at most {settings.pixels} pixels a frame, bicubic"

    @classmethod
    def load(cls, argument: str = "", device: str = "cpu") -> VideoReward:
        """Loads the published weights, or those of a folder or hub id.

        Args:
            argument: ``QUALITY``, ``FOLDER`` or ``QUALITY:FOLDER``, where a quality is VQ, MQ or TA; empty for the sum
                of the three under the published weights.
            device: The device.

        Raises:
            UserError: There are no such weights, or they are not those of a VideoReward; it names the tensors.
        """
        quality, source = split_argument(argument, QUALITIES)
        source = source or MODEL
        files = read_reward_files(source)
        head = take_head(files.state, "rm_head")
        width = head["weight"].shape[-1] if "weight" in head else 0
        rows = 3 if len(head.get("weight", ())) == 3 else 1
        refuse_other_tensors(
            {"weight": (rows, width)}, head, f"{source} does not hold the head of a VideoReward (rm_head)"
        )
        network = Qwen2VL.load(files.settings_of, files.state, MARKS, source=source, device=device)
        name = f"video_reward:{argument}" if argument else "video_reward"
        return cls(network, head["weight"].float().to(device), files.settings, quality=quality, name=name)

    def score(self, prompts: Sequence[str], clips: Sequence[Any]) -> Tensor:
        """Returns the quality, or the sum of the three, ``(B,)`` float32; one clip is in memory at a time."""
        scores = self.qualities(prompts, clips)
        return scores[:, QUALITIES.index(self.quality)] if self.quality else scores.sum(dim=1)

    @torch.no_grad()
    def qualities(self, prompts: Sequence[str], clips: Sequence[Any]) -> Tensor:
        """Returns VQ, MQ and TA, ``(B, 3)`` float32."""
        check_prompt_count(prompts, clips)
        self.check_prompts(prompts)
        rows = [self._judge(prompt, clip) for prompt, clip in zip(prompts, clips, strict=True)]
        raw = torch.stack([torch.zeros(3), *rows])[1:]
        return (raw - torch.tensor(self.settings.means)) / torch.tensor(self.settings.deviations)

    def _judge(self, prompt: str, sample: Any) -> Tensor:
        frames = as_clip(sample, min_frames=PAIR, scorer=self.name, rule=self.rule).frames
        seen = clip_patches(frames, LEAST_PIXELS, self.settings.pixels)
        states, tokens = self.network.states([instruction("video_reward", prompt)], [seen], VIDEO)
        at_marks = self.network.states_at(states, tokens, MARKS)[0]
        return (at_marks * self.head).sum(dim=-1).cpu()  # a head of three rows: its diagonal
