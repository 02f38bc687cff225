"""VQAScore: whether an image shows what its prompt says, as the probability that a model answers a question with yes.

    score_b = p("Yes" | x_b, 'Does this figure show "c_b"? Please answer yes or no.')

Any model of transformers that answers questions about images takes the part: ``AutoModelForImageTextToText`` with its
``AutoProcessor``, such as LLaVA, Qwen-VL, SmolVLM, PaliGemma, or BLIP-2 with T5. The probability is that of the first
token of the answer, "Yes" or "yes" together, among all tokens. A model with a chat template gets the question in a
turn of a chat, any other the question alone. Values of two models are not comparable. On a GPU the weights keep the
precision of their file, so scores of half precision depend on the batch by about 1e-3.

Source: Lin et al. 2024 (arXiv 2404.01291), eq. 1 and section 4. Its own CLIP-FlanT5 takes the geometric mean with the
probability that the answer ends after "Yes", which orders almost alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from diffalign.errors import UserError
from diffalign.files.complete_weights import AGAIN, load_pretrained, one_sentence
from diffalign.quiet import quiet
from diffalign.scorers.compare import ComparesByScore
from diffalign.scorers.images.image_input import as_rgb
from diffalign.scorers.scorer import check_prompt_count, chunks, state_hash

QUESTION = 'Does this figure show "{}"? Please answer yes or no.'
ANSWERS = ("Yes", "yes")
LEAST = 8
"""Pixels of a side from which processors read an image as one; they take smaller sides for channels."""
EXAMPLE = "vqa:Qwen/Qwen2.5-VL-3B-Instruct"


class Vqa(ComparesByScore):
    """A model that answers questions about images, as a scorer.

    Args:
        model: The transformers model, already on its device.
        processor: Its processor of texts and images.
        name: Its name in reports.
        batch_size: Images per forward pass; only images with one question share a pass, so that no text is padded.
    """

    medium = "image"
    unit = "probability"
    range = (0.0, 1.0)
    license = "see the model's page"
    paper = "arXiv 2404.01291"
    preprocessing = "the model's own processor"

    def __init__(self, model: Any, processor: Any, *, name: str = "vqa", batch_size: int = 8) -> None:
        self.model, self.processor = model.eval().requires_grad_(False), processor
        self.name, self.batch_size = name, batch_size
        encode = processor.tokenizer.encode
        self._yes = sorted({encode(answer, add_special_tokens=False)[0] for answer in ANSWERS})

    @classmethod
    def load(cls, argument: str = "", device: str = "cpu") -> Vqa:
        """Loads a folder or hub id.

        Raises:
            UserError: The argument is missing, or names no such model.
        """
        from transformers import AutoModelForImageTextToText, AutoProcessor

        if not argument:
            raise UserError(f"vqa needs a model that answers questions about images: write {EXAMPLE}, for example.")
        advice = f"Expected a folder or a hub id with config.json, weights and a processor, as in --scorer {EXAMPLE}"
        with one_sentence(f"Cannot load a model of images and texts from '{argument}'", UserError, advice), quiet():
            dtype = torch.float32 if device == "cpu" else "auto"  # as stored: such models are large
            model = load_pretrained(AutoModelForImageTextToText, argument, error=UserError, advice=advice, dtype=dtype)
            processor = AutoProcessor.from_pretrained(argument)
        scorer = cls(model.to(device), processor, name=f"vqa:{argument}")
        with one_sentence(f"'{argument}' cannot answer a question about an image", UserError, AGAIN):
            scorer.score(["a"], [Image.new("RGB", (32, 32))])
        return scorer

    @cached_property
    def weights(self) -> str:
        """Hash of the model's parameters, computed on first access."""
        return state_hash(self.model.state_dict())

    def score(self, prompts: Sequence[str], images: Sequence[Any]) -> Tensor:
        """Returns probabilities, ``(B,)`` float32."""
        return self.probability_of_yes([QUESTION.format(prompt) for prompt in prompts], images)

    @torch.no_grad()
    def probability_of_yes(self, questions: Sequence[str], images: Sequence[Any]) -> Tensor:
        """Returns the probability that each question about its image is answered with yes, ``(B,)`` float32."""
        check_prompt_count(questions, images)
        found = torch.zeros(len(questions))
        for question in dict.fromkeys(questions):
            rows = [row for row, other in enumerate(questions) if other == question]
            for part in chunks(rows, self.batch_size):
                found[list(part)] = self._ask(question, [_enlarged(as_rgb(images[row])) for row in part])
        return found

    def _ask(self, question: str, images: Sequence[Image.Image]) -> Tensor:
        inputs = self._inputs(question, images)
        if self._start is not None:
            inputs["decoder_input_ids"] = torch.full((len(images), 1), self._start, device=self.model.device)
        logits = self.model(**inputs).logits[:, -1].float()
        return logits.softmax(-1)[:, self._yes].sum(-1).cpu()

    @cached_property
    def _start(self) -> int | None:
        """The first token of an answer, for models whose texts have an encoder and a decoder; None for others."""
        parts = [self.model.config, getattr(self.model.config, "text_config", None)]
        if not any(getattr(part, "is_encoder_decoder", False) for part in parts):
            return None
        starts = [getattr(part, name, None) for name in ("decoder_start_token_id", "pad_token_id") for part in parts]
        return next((int(start) for start in starts if start is not None), 0)

    def _inputs(self, question: str, images: Sequence[Image.Image]) -> dict[str, Tensor]:
        text, groups = question, list[Any](images)
        if getattr(self.processor, "chat_template", None):
            turn = {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": question}]}
            text = self.processor.apply_chat_template([turn], add_generation_prompt=True)
            groups = [[image] for image in images]
        self.processor.tokenizer.padding_side = "left"  # images of several sizes take several tokens; the last answers
        encoded = self.processor(images=groups, text=[text] * len(images), padding=True, return_tensors="pt")
        device, dtype = self.model.device, self.model.dtype
        return {
            key: value.to(device, dtype if value.is_floating_point() else value.dtype)
            for key, value in encoded.items()
            if isinstance(value, Tensor)
        }


def _enlarged(image: Image.Image) -> Image.Image:
    """Returns an image whose pixels are repeated where a side has fewer than :data:`LEAST`."""
    factor = -(-LEAST // min(image.size))
    return (
        image if factor == 1 else image.resize((factor * image.width, factor * image.height), Image.Resampling.NEAREST)
    )
