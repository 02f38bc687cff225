"""Qwen2-VL as the trunk of a judge: an instruction with an image or a clip in, the states of its last layer out.

The tokens have the positions 0, 1, 2, ... on all three axes of the rotary embedding. The released judges (HPSv3,
VideoReward, VideoScore) call the network in a way that never computes Qwen2-VL's positions of image tokens, in training
and in scoring alike; with positions by frame, row and column their scores would be others.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from diffalign.errors import UserError
from diffalign.files.complete_weights import one_sentence
from diffalign.scorers.vision_language.build import build
from diffalign.scorers.vision_language.qwen2_vl_pixels import Patches

IMAGE, VIDEO = "<|image_pad|>", "<|video_pad|>"
BEFORE = "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n<|vision_start|>"
BETWEEN, AFTER = "<|vision_end|>", "<|im_end|>\n<|im_start|>assistant\n"
SETTINGS = ("config.json", "tokenizer*", "vocab.json", "merges.txt", "added_tokens.json", "special_tokens_map.json")
"""Files of a repository that say how a Qwen2-VL is built and how it reads texts."""


class Qwen2VL:
    """The network without its output layer, and its tokenizer.

    Args:
        model: ``Qwen2VLModel`` of transformers, on its device.
        tokenizer: Its tokenizer, with the judge's own tokens added.
    """

    def __init__(self, model: Any, tokenizer: Any) -> None:
        self.model, self.tokenizer = model, tokenizer

    @classmethod
    def load(
        cls, settings: str, state: Mapping[str, Tensor], marks: Sequence[str], *, source: str, device: str
    ) -> Qwen2VL:
        """Builds the network around the tensors of a judge.

        Args:
            settings: Folder or hub id of the configuration and the tokenizer.
            state: Tensors as :func:`~diffalign.scorers.vision_language.checkpoint.qwen2_vl_keys` names them.
            marks: The judge's own tokens, in the order in which they were added to the vocabulary.
            source: Where the tensors come from, for messages.
            device: The device.

        Raises:
            UserError: The settings cannot be loaded, or the tensors are not those of this network and vocabulary.
        """
        from transformers import AutoConfig, AutoTokenizer, Qwen2VLModel

        advice = "Expected a folder or hub id with Qwen2-VL's config.json and tokenizer, as Qwen/Qwen2-VL-2B-Instruct."
        with one_sentence(f"Cannot load the settings of '{source}' from '{settings}'", UserError, advice):
            config, tokenizer = AutoConfig.from_pretrained(settings), AutoTokenizer.from_pretrained(settings)
            if config.model_type != "qwen2_vl":
                raise UserError(f"'{settings}' is a {config.model_type}, and '{source}' needs a qwen2_vl. {advice}")
        tokenizer.add_tokens([mark for mark in marks if mark not in tokenizer.get_vocab()], special_tokens=True)
        embeddings = state.get("language_model.embed_tokens.weight")
        if embeddings is not None:
            _check_marks(tokenizer, marks, len(embeddings), source, settings)
            config.get_text_config().vocab_size = len(embeddings)
        return cls(build(Qwen2VLModel, config, state, source, device), tokenizer)

    @property
    def reserved(self) -> frozenset[str]:
        """The tokens that a prompt may not hold."""
        return frozenset(self.tokenizer.get_added_vocab())

    @torch.no_grad()
    def states(self, texts: Sequence[str], seen: Sequence[Patches], pad: str) -> tuple[Tensor, Tensor]:
        """Returns the last states, ``(B, L, D)`` float32, and the tokens, ``(B, L)``, -1 behind the end of a row.

        Args:
            texts: ``B`` instructions.
            seen: An image or a clip for each, which the model sees before the instruction.
            pad: :data:`IMAGE` or :data:`VIDEO`.
        """
        rows = [
            self.tokenizer(f"{BEFORE}{pad * patches.tokens}{BETWEEN}{text}{AFTER}", add_special_tokens=False)[
                "input_ids"
            ]
            for text, patches in zip(texts, seen, strict=True)
        ]
        device = next(self.model.parameters()).device
        width = max(map(len, rows))
        tokens = torch.tensor([row + [-1] * (width - len(row)) for row in rows], device=device)
        name = {IMAGE: ("pixel_values", "image_grid_thw"), VIDEO: ("pixel_values_videos", "video_grid_thw")}[pad]
        inputs = {
            "input_ids": tokens.clamp(min=0),
            "attention_mask": (tokens >= 0).long(),
            "position_ids": torch.arange(width, device=device).expand(3, len(rows), -1),
            name[0]: torch.cat([patches.pixels for patches in seen]).to(device),
            name[1]: torch.tensor([patches.grid for patches in seen], device=device),
        }
        return self.model(**inputs, use_cache=False).last_hidden_state.float(), tokens

    def states_at(self, states: Tensor, tokens: Tensor, marks: Sequence[str]) -> Tensor:
        """Returns the states at the judge's own tokens, each of which a row holds once: ``(B, marks, D)``."""
        found = [states[tokens == self.tokenizer.convert_tokens_to_ids(mark)] for mark in marks]
        return torch.stack(found, dim=1)


def settings_of(folder: Path, otherwise: str) -> str:
    """Returns the folder where it holds the settings of a network, else ``otherwise``."""
    return str(folder) if folder.is_dir() and (folder / "config.json").is_file() else otherwise


def _check_marks(tokenizer: Any, marks: Sequence[str], rows: int, source: str, settings: str) -> None:
    largest = max((tokenizer.convert_tokens_to_ids(mark) for mark in marks), default=-1)
    if largest >= rows:
        raise UserError(
            f"'{source}' has {rows} tokens, and its own {marks[-1]} would be token {largest} after those of the "
            f"tokenizer of '{settings}': they do not belong together. Give the tokenizer of its training."
        )
