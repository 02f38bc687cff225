"""ImageReward: a BLIP that was trained on 137,000 human choices between images for one prompt.

    score_b = (r(x_b, c_b) - 0.16717362830052426) / 1.0333394966054072      about N(0, 1) on the authors' images
    1.0333394966054072 (score_a - score_b) = logit of "the first is preferred"

Prompts are cut to 35 tokens of BERT. Source: Xu et al. 2023 (arXiv 2304.05977), section 2.3; the constants are those
of the published code. Weights: ``THUDM/ImageReward``, revision main, ``ImageReward.pt`` and ``med_config.json``; the
tokenizer is that of ``google-bert/bert-base-uncased`` with two more tokens.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from diffalign.errors import UserError
from diffalign.files.complete_weights import one_sentence
from diffalign.files.model_files import read_object
from diffalign.files.weights_file import read_weights
from diffalign.quiet import quiet
from diffalign.scorers.compare import ComparesByScore
from diffalign.scorers.images.image_input import CLIP_MEAN, CLIP_STD, Preprocessing
from diffalign.scorers.images.image_reward_network import ImageRewardNetwork
from diffalign.scorers.images.published_weights import find_weights
from diffalign.scorers.scorer import check_prompt_count, chunks, state_hash

HUB_ID, FILE, CONFIG = "THUDM/ImageReward", "ImageReward.pt", "med_config.json"
TOKENIZER = "google-bert/bert-base-uncased"
TOKENIZER_FILES = ("vocab.txt", "tokenizer.json")
MEAN, STD, LENGTH = 0.16717362830052426, 1.0333394966054072, 35


class ImageReward(ComparesByScore):
    """ImageReward as a scorer.

    Args:
        network: The network, already on its device.
        tokenizer: BERT's tokenizer, with the two tokens of BLIP.
        name: Its name in reports.
        batch_size: Images per forward pass; the scores do not depend on it.
    """

    medium = "image"
    unit = "standard deviations"
    range = (float("-inf"), float("inf"))
    license = "Apache-2.0"
    paper = "arXiv 2304.05977"
    logits_per_unit = STD

    def __init__(
        self, network: ImageRewardNetwork, tokenizer: Any, *, name: str = "image_reward", batch_size: int = 16
    ) -> None:
        self.network, self.tokenizer = network.eval().requires_grad_(False), tokenizer
        self.name, self.batch_size = name, batch_size
        size = network.image_size
        self.preprocess = Preprocessing(
            shortest_edge=size, exact=None, resample=3, crop=(size, size), crop_rounds=True, scale=1 / 255,
            mean=CLIP_MEAN, std=CLIP_STD,
        )  # fmt: skip
        self.preprocessing = str(self.preprocess)

    @classmethod
    def load(cls, argument: str = "", device: str = "cpu") -> ImageReward:
        """Loads the published weights, or those of a file or folder.

        Args:
            argument: ``ImageReward.pt`` or its folder; empty for the published one. ``med_config.json`` and BERT's
                tokenizer (``vocab.txt`` or ``tokenizer.json``) are read beside the file where they are there.
            device: The device to load it on.

        Raises:
            UserError: There is no such file, or its tensors are not those of ImageReward.
        """
        file = find_weights(argument, HUB_ID, FILE, scorer="image_reward")
        settings: Mapping[str, Any] = read_object(file.parent / CONFIG) if (file.parent / CONFIG).is_file() else {}
        with (
            one_sentence(f"Cannot load ImageReward from '{file}'", UserError, f"Expected {FILE} of {HUB_ID}."),
            quiet(),
        ):
            network = ImageRewardNetwork(read_weights(file), settings, str(file)).float().to(device)
        scorer = cls(network, _tokenizer(file.parent), name=f"image_reward:{argument}" if argument else "image_reward")
        with one_sentence(f"'{file}' cannot score an image", UserError, "Its tokenizer belongs to another model."):
            scorer.score(["a"], [Image.new("RGB", (8, 8))])
        return scorer

    @cached_property
    def weights(self) -> str:
        """Hash of the parameters, computed on first access."""
        return state_hash(self.network.state_dict())

    @torch.no_grad()
    def score(self, prompts: Sequence[str], images: Sequence[Any]) -> Tensor:
        """Returns rewards, ``(B,)`` float32."""
        check_prompt_count(prompts, images)
        rows = list(zip(prompts, images, strict=True))
        parts = [self._score_batch(*zip(*part, strict=True)) for part in chunks(rows, self.batch_size)]
        return torch.cat(parts) if parts else torch.zeros(0)

    def _score_batch(self, prompts: Sequence[str], images: Sequence[Any]) -> Tensor:
        device = next(self.network.parameters()).device
        tokens = self.tokenizer(
            list(prompts), padding="max_length", truncation=True, max_length=LENGTH, return_tensors="pt"
        ).to(device)
        rewards = self.network(self.preprocess(images).to(device), tokens["input_ids"], tokens["attention_mask"])
        return ((rewards - MEAN) / STD).float().cpu()


def _tokenizer(folder: Path) -> Any:
    """Returns BERT's tokenizer, from a folder that holds its files or from the hub, with the two tokens of BLIP."""
    from transformers import BertTokenizer

    source = str(folder) if any((folder / name).is_file() for name in TOKENIZER_FILES) else TOKENIZER
    advice = f"Copy vocab.txt or tokenizer.json of {TOKENIZER} beside the weights."
    with one_sentence(f"Cannot load ImageReward's tokenizer from '{source}'", UserError, advice), quiet():
        tokenizer = BertTokenizer.from_pretrained(source)
        tokenizer.add_tokens(["[DEC]", "[ENC]"], special_tokens=True)
    return tokenizer
