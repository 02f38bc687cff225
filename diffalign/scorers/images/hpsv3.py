"""HPSv3: a Qwen2-VL of 7 billion parameters that reads an image with its prompt and gives a mean and a spread.

    (mu_b, log sigma_b) = head(state at <|Reward|>),      score_b = mu_b
    head: Linear, ReLU, Linear, ReLU, Linear, in float32

The training draws the difference of two scores from N(mu_a - mu_b, sigma_a^2 + sigma_b^2) and maximises the mean of
log sigmoid; judging uses mu alone, and so does this scorer: the difference of two scores is a logit. An image is
resized to about 200,704 pixels (448 x 448), whatever its size. Published means of models: Kolors 10.55, SDXL 8.20,
SD 2 -0.24.

Source: Ma et al. 2025 (arXiv 2508.03789), section 4; head, instruction and sizes from the authors' released code.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from diffalign.scorers.images.image_input import as_rgb
from diffalign.scorers.scorer import check_prompt_count, chunks
from diffalign.scorers.vision_language.build import head_layer, refuse_other_tensors
from diffalign.scorers.vision_language.checkpoint import (
    local_folder,
    qwen2_vl_keys,
    read_state,
    take_head,
    weight_files,
    without_peft,
)
from diffalign.scorers.vision_language.instruction import instruction
from diffalign.scorers.vision_language.network_and_head import NetworkAndHead
from diffalign.scorers.vision_language.qwen2_vl import IMAGE, SETTINGS, Qwen2VL, settings_of
from diffalign.scorers.vision_language.qwen2_vl_pixels import image_patches

MODEL = "MizzenAI/HPSv3"
SETTINGS_OF = "Qwen/Qwen2-VL-7B-Instruct"
FILES = ("HPSv3.safetensors", "model.safetensors.index.json", "model.safetensors")
MARK = "<|Reward|>"
PIXELS = 256 * 28 * 28
HIDDEN = (1024, 16)
"""Widths of the head."""
LAYERS = ("0.", "3.", "5.")
"""Names of its linear layers in the file; ReLU and dropout are between them."""


class HPSv3(NetworkAndHead):
    """HPSv3 as a scorer.

    Args:
        network: The trunk.
        head: From states to (mu, log sigma).
        name: Its name in reports.
        batch_size: Images per forward pass; the scores do not depend on it.
    """

    network: Qwen2VL
    head: nn.Module
    medium = "image"
    unit = "logit"
    range = (float("-inf"), float("inf"))
    license = "MIT"
    paper = "arXiv 2508.03789"
    logits_per_unit = 1.0
    preprocessing = "Qwen2-VL, 200704 pixels at any ratio, bicubic"

    def __init__(self, network: Qwen2VL, head: nn.Module, *, name: str = "hpsv3", batch_size: int = 4) -> None:
        self.network, self.head, self.name, self.batch_size = network, head, name, batch_size

    @classmethod
    def load(cls, argument: str = "", device: str = "cpu") -> HPSv3:
        """Loads the published weights, those of a folder or hub id, or one file.

        A folder may also hold ``config.json`` and the tokenizer of Qwen2-VL-7B-Instruct; otherwise the hub's are used.

        Raises:
            UserError: There are no such weights, or their tensors are not those of an HPSv3; it names them.
        """
        source = argument or MODEL
        found = local_folder(source, (*FILES[:1], "model*.safetensors", FILES[1], *SETTINGS))
        files = [found] if found.is_file() else weight_files(found, FILES)
        state = qwen2_vl_keys(without_peft(read_state(files)))
        head = _head(take_head(state, "rm_head"), source)
        network = Qwen2VL.load(settings_of(found, SETTINGS_OF), state, (MARK,), source=source, device=device)
        return cls(network, head.to(device), name=f"hpsv3:{argument}" if argument else "hpsv3")

    def score(self, prompts: Sequence[str], images: Sequence[Any]) -> Tensor:
        """Returns mu, ``(B,)`` float32."""
        return self.mean_and_log_spread(prompts, images)[:, 0]

    @torch.no_grad()
    def mean_and_log_spread(self, prompts: Sequence[str], images: Sequence[Any]) -> Tensor:
        """Returns mu and log sigma, ``(B, 2)`` float32."""
        check_prompt_count(prompts, images)
        self.check_prompts(prompts)
        parts = [torch.zeros(0, 2)]
        for rows in chunks(range(len(prompts)), self.batch_size):
            seen = [image_patches(as_rgb(images[row]), PIXELS, PIXELS) for row in rows]
            states, tokens = self.network.states([instruction("hpsv3", prompts[row]) for row in rows], seen, IMAGE)
            parts.append(self.head(self.network.states_at(states, tokens, (MARK,))[:, 0]).cpu())
        return torch.cat(parts)


def _head(tensors: dict[str, Tensor], source: str) -> nn.Sequential:
    width = tensors[f"{LAYERS[0]}weight"].shape[-1] if f"{LAYERS[0]}weight" in tensors else 0
    sides = [(HIDDEN[0], width), (HIDDEN[1], HIDDEN[0]), (2, HIDDEN[1])]
    expected: dict[str, tuple[int, ...]] = {f"{layer}weight": shape for layer, shape in zip(LAYERS, sides, strict=True)}
    expected |= {f"{layer}bias": shape[:1] for layer, shape in zip(LAYERS, sides, strict=True)}
    refuse_other_tensors(expected, tensors, f"{source} does not hold the head of an HPSv3 (rm_head)")
    first, second, third = (head_layer(tensors, layer) for layer in LAYERS)
    return nn.Sequential(first, nn.ReLU(), second, nn.ReLU(), third)
