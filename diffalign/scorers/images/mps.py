"""MPS: which image people prefer for a prompt, overall or with one aspect in mind.

    score_b = exp(logit_scale) cos(h(x_b, c_b, k), c_b)     difference of two scores = logit of "the first is preferred"

The image's tokens attend to those words of the prompt that are close to a condition ``k``, a fixed list of words:
``overall``, ``aesthetics``, ``quality`` or ``semantic``. The published weights were trained on overall preference.

Source: Zhang et al. 2024 (arXiv 2405.14705), section 4, and the authors' evaluation (threshold 0.3). They publish
``MPS_overall_checkpoint.pth``, a pickled object whose loading would run its code: take its state dictionary, as
DiffSynth publishes it, or save it with ``torch.save(torch.load(FILE, weights_only=False).state_dict(), NEW)`` where
their code is installed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from diffalign.errors import UserError, near_miss
from diffalign.files.complete_weights import one_sentence
from diffalign.files.weights_file import read_weights
from diffalign.quiet import quiet
from diffalign.scorers.compare import ComparesByScore
from diffalign.scorers.images.image_input import Preprocessing, load_preprocessing
from diffalign.scorers.images.mps_network import HEAD, MpsNetwork
from diffalign.scorers.images.published_weights import load_state
from diffalign.scorers.scorer import check_prompt_count, chunks, state_hash

CLIP = "laion/CLIP-ViT-H-14-laion2B-s32B-b79K"
CLIP_FOLDER = "clip"
"""Folder beside the weights that holds config, tokenizer and preprocessing of CLIP, for machines without a network."""
CONDITIONS = {
    "overall": "light, color, clarity, tone, style, ambiance, artistry, shape, face, hair, hands, limbs, structure, "
    "instance, texture, quantity, attributes, position, number, location, word, things.",
    "aesthetics": "light, color, clarity, tone, style, ambiance, artistry",
    "quality": "shape, face, hair, hands, limbs, structure, instance, texture",
    "semantic": "quantity, attributes, position, number, location",
}
"""Aspect to the words of its condition."""
_BUFFERS = re.compile(r"(rotary_emb\.inv_freq|pos_emb|position_ids)$")


class Mps(ComparesByScore):
    """MPS as a scorer.

    Args:
        network: The network, already on its device.
        tokenizer: CLIP's tokenizer.
        preprocess: CLIP's image preprocessing.
        condition: A name of :data:`CONDITIONS`.
        name: Its name in reports.
        batch_size: Images per forward pass; the scores do not depend on it.
    """

    medium = "image"
    unit = "logit"
    range = (-100.0, 100.0)
    license = "see the authors' page"
    paper = "arXiv 2405.14705"
    logits_per_unit = 1.0

    def __init__(
        self, network: MpsNetwork, tokenizer: Any, preprocess: Preprocessing, *,
        condition: str = "overall", name: str = "mps", batch_size: int = 16,
    ) -> None:  # fmt: skip
        self.network, self.tokenizer, self.preprocess = network.eval().requires_grad_(False), tokenizer, preprocess
        self.condition, self.name, self.batch_size = condition, name, batch_size
        self.preprocessing = str(preprocess)

    @classmethod
    def load(cls, argument: str = "", device: str = "cpu") -> Mps:
        """Loads ``FILE`` or ``CONDITION:FILE``.

        Args:
            argument: A state dictionary, ``.pth`` or safetensors, after a condition where it is not ``overall``.
            device: The device to load it on.

        Raises:
            UserError: There is no such file or condition, or its tensors are not those of MPS.
        """
        condition, _, rest = argument.partition(":")
        condition, file = (condition, rest) if rest else ("overall", argument)
        if condition not in CONDITIONS:
            raise UserError(
                f"mps has no condition '{condition}'.{near_miss(condition, CONDITIONS)} Known: {', '.join(CONDITIONS)}."
            )
        if not Path(file).expanduser().is_file():
            raise UserError(
                f"mps needs a file of its weights, a state dictionary of MPS_overall_checkpoint, as in mps:FILE; got "
                f"'{file}'."
            )
        path = Path(file).expanduser()
        own = path.parent / CLIP_FOLDER
        source = str(own) if own.is_dir() else CLIP
        advice = f"Expected a state dictionary of MPS, and config, tokenizer and preprocessing of {CLIP}."
        with one_sentence(f"Cannot load MPS from '{file}'", UserError, advice), quiet():
            scorer = cls(
                _network(path, source).to(device), _tokenizer(source), load_preprocessing(source),
                condition=condition, name=f"mps:{argument}",
            )  # fmt: skip
            scorer.score(["a"], [Image.new("RGB", (8, 8))])
        return scorer

    @cached_property
    def weights(self) -> str:
        """Hash of the parameters, computed on first access."""
        return state_hash(self.network.state_dict())

    @torch.no_grad()
    def score(self, prompts: Sequence[str], images: Sequence[Any]) -> Tensor:
        """Returns logits, ``(B,)`` float32. Long prompts are truncated."""
        check_prompt_count(prompts, images)
        device, rows = next(self.network.parameters()).device, list(zip(prompts, images, strict=True))
        condition, parts = self._tokens([CONDITIONS[self.condition]]).to(device), []
        for part in chunks(rows, self.batch_size):
            tokens = self._tokens([prompt for prompt, _ in part]).to(device)
            pixels = self.preprocess([image for _, image in part]).to(device)
            parts.append(self.network(pixels, tokens, condition).float().cpu())
        return torch.cat(parts) if parts else torch.zeros(0)

    def _tokens(self, texts: Sequence[str]) -> Tensor:
        length = self.network.model.config.text_config.max_position_embeddings
        encoded = self.tokenizer(
            list(texts), padding="max_length", truncation=True, max_length=length, return_tensors="pt"
        )
        tokens: Tensor = encoded["input_ids"]  # the padding is seen, as published
        return tokens


def _network(path: Path, source: str) -> MpsNetwork:
    """Returns the network of a state; the number of layers and heads are those of its tensors."""
    from transformers import AutoConfig

    state: Mapping[str, Tensor] = {k: v for k, v in read_weights(path).items() if not _BUFFERS.search(k)}
    layers = {int(match[1]) for name in state if (match := re.match(r"cross_model\.layers\.(\d+)\.", name))}
    query = state.get("cross_model.layers.0.0.fn.to_q.weight")
    if query is None or query.ndim != 2 or query.shape[0] % HEAD:
        raise UserError(f"{path} holds no layers of MPS (cross_model.layers.0.0.fn.to_q.weight of {HEAD} x n rows).")
    network = MpsNetwork(AutoConfig.from_pretrained(source), layers=len(layers), heads=query.shape[0] // HEAD)
    load_state(network, state, str(path))
    return network.float()


def _tokenizer(source: str) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(source)
