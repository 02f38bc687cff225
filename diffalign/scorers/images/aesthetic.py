"""LAION aesthetic predictor: how people who rate pictures like an image, by linear layers on CLIP L/14's embedding.

    score_b = W_n (... (W_1 e_b + b_1) ...) + b_n,      e_b = f(x_b) / |f(x_b)|, f OpenAI's CLIP L/14

Version 2 has five layers without activations and was trained on ratings from 1 to 10 (SAC, LOGOS, AVA); what
text-to-image models make has about 5 to 6.5. Version 1 is one layer on the same embedding; VBench divides it by 10. No
prompt is read.

Source: Schuhmann 2022 (github.com/christophschuhmann/improved-aesthetic-predictor, and LAION-AI/aesthetic-predictor for
version 1). Weights of version 2: ``trl-lib/ddpo-aesthetic-predictor``, revision main, a copy of
``sac+logos+ava1-l14-linearMSE.pth``; those of version 1 (``sa_0_4_vit_l_14_linear.pth``) are on no hub.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from diffalign.errors import UserError
from diffalign.files.complete_weights import one_sentence
from diffalign.files.weights_file import read_weights
from diffalign.scorers.compare import ComparesByScore
from diffalign.scorers.images.dual_encoder import DEFAULT
from diffalign.scorers.images.encoders.encoder import Encoder
from diffalign.scorers.images.encoders.open_clip_encoder import CONFIG
from diffalign.scorers.images.encoders.open_encoder import OPEN_CLIP, open_encoder
from diffalign.scorers.images.image_input import Preprocessing
from diffalign.scorers.images.linear_head import linear_head
from diffalign.scorers.images.published_weights import find_weights, load_state
from diffalign.scorers.scorer import check_prompt_count, chunks, state_hash

HUB_ID, FILE = "trl-lib/ddpo-aesthetic-predictor", "aesthetic-model.pth"
FILE_V1 = "sa_0_4_vit_l_14_linear.pth"
ENCODER_FOLDER = "clip"
"""Folder beside the head that holds the encoder, for machines without a network."""


class Aesthetic(ComparesByScore):
    """The predictor as a scorer.

    Args:
        encoder: CLIP L/14.
        head: Linear layers on its embedding of unit length, already on the encoder's device.
        name: Its name in reports.
        batch_size: Images per forward pass; the scores do not depend on it.
    """

    medium = "image"
    unit = "points of 10"
    range = (float("-inf"), float("inf"))
    license = "Apache-2.0"
    paper = "Schuhmann 2022, arXiv 2210.08402 section 3.1"

    def __init__(self, encoder: Encoder, head: nn.Module, *, name: str = "aesthetic", batch_size: int = 16) -> None:
        self.encoder, self.head = encoder, head.eval().requires_grad_(False)
        self.name, self.batch_size = name, batch_size
        self.preprocessing = str(encoder.preprocess)

    @classmethod
    def load(cls, argument: str = "", device: str = "cpu") -> Aesthetic:
        """Loads the head, and the encoder: from the folder ``clip`` beside the head's file, or OpenAI's CLIP L/14.

        Args:
            argument: The head's file or its folder; empty for the published one of version 2. ``v1:FILE`` for
                version 1.
            device: The device to load them on.

        Raises:
            UserError: There is no such file, or the head does not fit the encoder.
        """
        version_1, name = argument == "v1" or argument.startswith("v1:"), f"aesthetic:{argument}".rstrip(":")
        argument = argument.partition(":")[2] if version_1 else argument
        if version_1 and not argument:
            raise UserError(
                f"aesthetic:v1 needs its file, {FILE_V1} of LAION-AI/aesthetic-predictor: aesthetic:v1:FILE"
            )
        file = find_weights(argument, HUB_ID, FILE_V1 if version_1 else FILE, scorer="aesthetic")
        head = _head(file)
        encoder = open_encoder(_encoder_source(file.parent), device)
        if isinstance(encoder.preprocess, Preprocessing):  # the authors' is torchvision's
            encoder.preprocess = replace(encoder.preprocess, crop_rounds=True)
        scorer = cls(encoder, head.to(device), name=name)
        with one_sentence(f"The head of {file} does not fit {_encoder_source(file.parent)}", UserError):
            scorer.score([""], [Image.new("RGB", (8, 8))])
        return scorer

    @cached_property
    def weights(self) -> str:
        """Hash of the head's and the encoder's parameters, computed on first access."""
        head = {f"head.{key}": value for key, value in self.head.state_dict().items()}
        return state_hash({**head, **self.encoder.model.state_dict()})

    @torch.no_grad()
    def score(self, prompts: Sequence[Any], images: Sequence[Any]) -> Tensor:
        """Returns scores, ``(B,)`` float32; the prompts are not read."""
        check_prompt_count(prompts, images)
        parts = [
            self.head(F.normalize(self.encoder.embed_images(self.encoder.preprocess(part)).float(), dim=-1))[:, 0].cpu()
            for part in chunks(images, self.batch_size)
        ]
        return torch.cat(parts) if parts else torch.zeros(0)


def _head(file: Path) -> nn.Module:
    """Returns the layers of a file: ``layers.0.weight``, ... of version 2, or ``weight`` and ``bias`` of version 1."""
    state = read_weights(file)
    if "weight" in state:
        state = {f"layers.0.{key}": value for key, value in state.items()}
    state = {key.removeprefix("layers."): value for key, value in state.items()}
    head = linear_head(state, str(file)).float()
    load_state(head, state, str(file))
    return head


def _encoder_source(folder: Path) -> str:
    """Returns the encoder beside a head, or the published one."""
    own = folder / ENCODER_FOLDER
    if not own.is_dir():
        return DEFAULT
    return f"{OPEN_CLIP}{own}" if (own / CONFIG).is_file() else str(own)
