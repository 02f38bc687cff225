"""Label hits: whether a classifier recognises in the image the class that the prompt names.

    score_b = p(class named in c_b | x_b),      hit_b = [argmax_k p(k | x_b) = class named in c_b]

Supports any image classifier of transformers whose class names occur in the prompts as words; plurals, and the synonyms
that ImageNet's names list after commas, count. In a prompt that names several classes the longest name counts, and of
equally long ones the first.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from diffalign.errors import DataError, UserError
from diffalign.files.complete_weights import AGAIN, load_pretrained, one_sentence
from diffalign.scorers.compare import ComparesByScore
from diffalign.scorers.images.image_input import Preprocessing, load_preprocessing
from diffalign.scorers.scorer import check_prompt_count, chunks, state_hash


class LabelHit(ComparesByScore):
    """An image classifier as a scorer.

    Args:
        model: The transformers classifier, already on its device; ``config.id2label`` names its classes.
        preprocess: Its image preprocessing.
        name: Its name in reports.
        batch_size: Images per forward pass.
    """

    medium = "image"
    unit = "probability"
    range = (0.0, 1.0)
    license = "see the model's page"
    paper = "the classifier's own"

    def __init__(self, model: Any, preprocess: Preprocessing, *, name: str = "label_hit", batch_size: int = 32) -> None:
        self.model, self.preprocess = model.eval().requires_grad_(False), preprocess
        self.name, self.batch_size = name, batch_size
        self.preprocessing = str(preprocess)
        self._classes = _patterns(model.config.id2label)

    @classmethod
    def load(cls, argument: str, device: str = "cpu") -> LabelHit:
        """Loads the classifier of a folder or hub id.

        Raises:
            UserError: The argument is missing, or names no image classifier.
        """
        from transformers import AutoModelForImageClassification

        if not argument:
            raise UserError("label_hit needs a classifier: write label_hit:FOLDER or label_hit:HUB_ID.")
        advice = (
            "Expected a folder or a hub id with config.json and weights, as in --scorer "
            "label_hit:google/vit-base-patch16-224"
        )
        with one_sentence(f"Cannot load an image classifier from '{argument}'", UserError, advice):
            model = load_pretrained(AutoModelForImageClassification, argument, error=UserError, advice=advice)
        preprocessing = load_preprocessing(argument)
        with one_sentence(
            f"'{argument}' cannot score an image", UserError, "Its files belong to several models. " + AGAIN
        ):
            scorer = cls(model.float().to(device), preprocessing, name=f"label_hit:{argument}")
            scorer.probabilities([Image.new("RGB", (8, 8))])
        return scorer

    @cached_property
    def weights(self) -> str:
        """Hash of the classifier's parameters, computed on first access."""
        return state_hash(self.model.state_dict())

    def check_prompts(self, prompts: Sequence[str]) -> None:
        """Raises :class:`DataError` when a prompt names no class, before any image is generated for it."""
        for prompt in prompts:
            self.class_of(prompt)

    def class_of(self, prompt: str) -> int:
        """Returns the index of the class that the prompt names."""
        matches = [
            (len(match[0]), -match.start(), index)
            for index, pattern in self._classes
            if (match := pattern.search(prompt.lower()))
        ]
        if not matches:
            names = list(self.model.config.id2label.values())
            raise DataError(
                f"The prompt '{prompt}' names none of the {len(names)} classes of {self.name} "
                f"({', '.join(names[:6])}, ...). Leave it out of the prompts, or leave this scorer out."
            )
        return max(matches)[2]

    @torch.no_grad()
    def probabilities(self, images: Sequence[Any]) -> Tensor:
        """Returns class probabilities, ``(B, K)`` float32 on the CPU."""
        device = next(self.model.parameters()).device
        parts = [
            self.model(pixel_values=self.preprocess(part).to(device)).logits.float().softmax(-1).cpu()
            for part in chunks(images, self.batch_size)
        ]
        return torch.cat(parts) if parts else torch.zeros(0, self.model.config.num_labels)

    def score(self, prompts: Sequence[str], images: Sequence[Any]) -> Tensor:
        """Returns the probability of the prompt's class, ``(B,)`` float32."""
        return self.scores_and_hits(prompts, images)[0]

    def hits(self, prompts: Sequence[str], images: Sequence[Any]) -> Tensor:
        """Returns whether the most likely class is that of the prompt, ``(B,)`` bool."""
        return self.scores_and_hits(prompts, images)[1]

    def scores_and_hits(self, prompts: Sequence[str], images: Sequence[Any]) -> tuple[Tensor, Tensor]:
        """Returns scores and hits from one pass through the classifier."""
        check_prompt_count(prompts, images)
        classes = torch.tensor([self.class_of(prompt) for prompt in prompts], dtype=torch.long)
        probabilities = self.probabilities(images)
        return probabilities[torch.arange(len(classes)), classes], probabilities.argmax(-1) == classes


def _patterns(id2label: Mapping[int, str]) -> list[tuple[int, re.Pattern[str]]]:
    """Returns one pattern per class, which matches its synonyms as whole words, singular or plural."""
    patterns = []
    for index, label in id2label.items():
        words = {name.strip().lower().replace("_", " ") for name in label.split(",")} - {""}
        forms = {form for word in words for form in (word, *_plurals(word))}
        alternatives = "|".join(re.escape(form) for form in sorted(forms, key=len, reverse=True))
        patterns.append((int(index), re.compile(rf"(?<!\w)(?:{alternatives})(?!\w)")))
    return patterns


def _plurals(word: str) -> tuple[str, ...]:
    regular = (word + "s", word + "es")
    if word.endswith("y"):
        return (*regular, word[:-1] + "ies")
    if word.endswith("man"):
        return (*regular, word[:-3] + "men")
    return regular
