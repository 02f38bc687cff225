"""Idefics2 as the trunk of a judge: an instruction followed by frames in, the state of the last token out.

A frame keeps its ratio: its long side is at most 980 pixels and its short side at least 378 (the folder's own
``preprocessor_config.json`` decides), resized by PIL's bilinear filter. It takes 64 tokens between two marks. Frames
are separated by a space; where a frame is split into quarters, the mark between two parts is written once.

Source: Laurencon et al. 2024 (arXiv 2405.02246); sizes and marks of the model's own processor.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from diffalign.errors import ConfigError, UserError
from diffalign.files.complete_weights import AGAIN, one_sentence
from diffalign.files.model_files import read_object
from diffalign.scorers.vision_language.build import build
from diffalign.scorers.vision_language.idefics2_positions import place_patches

IMAGE, MARK = "<image>", "<fake_token_around_image>"


@dataclass(frozen=True)
class FrameSize:
    """How a frame is resized.

    Args:
        shortest, longest: Pixels that the short side has at least, and the long side at most.
        split: Whether the four quarters of a frame are shown before the frame.
    """

    shortest: int = 378
    longest: int = 980
    split: bool = False

    def of(self, width: int, height: int) -> tuple[int, int]:
        """Returns the width and height of a frame that the model sees."""
        ratio = width / height
        if width >= height and width > self.longest:
            width, height = self.longest, int(self.longest / ratio)
        elif height > self.longest:
            width, height = int(self.longest * ratio), self.longest
        return max(width, self.shortest), max(height, self.shortest)


class Idefics2:
    """The network without its output layer, its tokenizer, and its size of frames.

    Args:
        model: ``Idefics2Model`` of transformers, on its device.
        tokenizer: Its tokenizer.
        size: How frames are resized.
    """

    def __init__(self, model: Any, tokenizer: Any, size: FrameSize) -> None:
        self.model, self.tokenizer, self.size = model, tokenizer, size

    @classmethod
    def load(cls, folder: Path, config: Any, state: Mapping[str, Tensor], *, source: str, device: str) -> Idefics2:
        """Builds the network around the tensors of a judge.

        Raises:
            UserError: The tokenizer or the preprocessing is missing, or the tensors are not those of this network.
        """
        from transformers import AutoTokenizer, Idefics2Model

        with one_sentence(f"Cannot load the tokenizer of '{source}'", UserError, AGAIN):
            tokenizer = AutoTokenizer.from_pretrained(folder)
        missing = {IMAGE, MARK} - set(tokenizer.get_vocab())
        if missing:
            raise UserError(f"The tokenizer of '{source}' has no {' and no '.join(sorted(missing))}. {AGAIN}")
        model = build(Idefics2Model, config, state, source, device)
        place_patches(model.vision_model.embeddings)
        return cls(model, tokenizer, _frame_size(folder, source))

    @property
    def reserved(self) -> frozenset[str]:
        """The tokens that a prompt may not hold."""
        return frozenset(self.tokenizer.get_added_vocab())

    @torch.no_grad()
    def last_state(self, text: str, frames: Sequence[np.ndarray]) -> Tensor:
        """Returns the last state after a text and frames ``(H, W, 3)`` uint8 of equal size, ``(D,)`` float32."""
        device, kind = next(self.model.parameters()).device, next(self.model.parameters()).dtype
        pixels = torch.stack([part for frame in frames for part in self._parts(frame)])
        picture = f"{MARK}{IMAGE * self.model.config.perceiver_config.resampler_n_latents}{MARK}"
        shown = picture * (5 if self.size.split else 1)
        text = (text + f"{shown} " * len(frames)).replace(MARK * 2, MARK)
        tokens = self.tokenizer(text, return_tensors="pt")["input_ids"].to(device)
        output = self.model(
            input_ids=tokens,
            attention_mask=torch.ones_like(tokens),
            pixel_values=pixels[None].to(device, kind),
            use_cache=False,
        )
        return output.last_hidden_state[0, -1].float()

    def _parts(self, frame: np.ndarray) -> list[Tensor]:
        whole = Image.fromarray(frame)
        parts = [whole]
        if self.size.split:
            x, y = whole.width // 2, whole.height // 2
            boxes = [(0, 0, x, y), (x, 0, whole.width, y), (0, y, x, whole.height), (x, y, whole.width, whole.height)]
            parts = [*(whole.crop(box) for box in boxes), whole]
        return [self._pixels(part) for part in parts]

    def _pixels(self, image: Image.Image) -> Tensor:
        resized = image.resize(self.size.of(*image.size), Image.Resampling.BILINEAR)
        return torch.from_numpy(np.asarray(resized, np.float32)).permute(2, 0, 1) / 127.5 - 1


def _frame_size(folder: Path, source: str) -> FrameSize:
    try:
        config = read_object(folder / "preprocessor_config.json")
    except ConfigError as error:
        raise UserError(f"'{source}' has no preprocessing of frames: {error}") from error
    size = config.get("size") or {}
    with one_sentence(f"The preprocessor_config.json of '{source}' cannot be followed", UserError, AGAIN):
        plain = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3, "resample": 2, "rescale_factor": 1 / 255}
        other = [key for key, value in plain.items() if config.get(key, value) != value]
        if other:
            raise ValueError(f"it has another {other[0]} than Idefics2")
        shortest, longest = int(size.get("shortest_edge", 378)), int(size.get("longest_edge", 980))
        if not 1 <= shortest <= longest <= 8192:
            raise ValueError(f"its frames have {shortest} to {longest} pixels on a side")
        return FrameSize(shortest, longest, bool(config.get("do_image_splitting", False)))
