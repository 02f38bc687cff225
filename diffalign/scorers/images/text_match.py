"""Text match: whether the words that a prompt puts in quotes stand in the image, as a reader of texts sees them.

    score_b = 1 - min(d, n) / n,    n = |t|,  d = 0 if t occurs in r, otherwise the edit distance of r and t

``t`` is the text in quotes and ``r`` everything that is read in the image, both in lower case and without spaces. A
prompt with several texts in quotes gets their mean.

The reader is RapidOCR (Apache-2.0), the PP-OCR networks of PaddleOCR on ONNX, whose package brings its weights; or any
function of the user's from an RGB PIL image to a string. Source: the reward for text rendering of Flow-GRPO (Liu et
al. 2025, arXiv 2505.05470, section 5 and its code, which reads the first text in quotes).
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from diffalign.errors import DataError, UserError
from diffalign.plugins import function_digest, load_function
from diffalign.scorers.compare import ComparesByScore
from diffalign.scorers.images.image_input import as_rgb
from diffalign.scorers.scorer import check_prompt_count, missing_package

_QUOTED = re.compile(r'"([^"]+)"|\u201c([^\u201d]+)\u201d|\u00ab([^\u00bb]+)\u00bb')


class TextMatch(ComparesByScore):
    """A reader of texts as a scorer.

    Args:
        read: Returns the text in an RGB image.
        name: Its name in reports.
        weights: Hash or version of the reader; empty where it is not known.
    """

    medium = "image"
    unit = "share of characters"
    range = (0.0, 1.0)
    license = "Apache-2.0"
    paper = "arXiv 2505.05470"

    def __init__(self, read: Callable[[Image.Image], str], *, name: str = "ocr", weights: str = "") -> None:
        self.read, self.name, self.weights = read, name, weights

    @classmethod
    def load(cls, argument: str = "", device: str = "cpu") -> TextMatch:
        """Builds the scorer with RapidOCR, or with the reader ``FILE.py:FUNCTION`` or ``MODULE:FUNCTION``.

        Raises:
            UserError: RapidOCR is not installed, or there is no such function.
        """
        if not argument:
            return cls(_rapid_ocr())
        read = load_function(argument)
        return cls(read, name=f"ocr:{argument}", weights=function_digest(read))

    def check_prompts(self, prompts: Sequence[str]) -> None:
        """Raises :class:`DataError` when a prompt has no text in quotes, before any image is generated for it."""
        for prompt in prompts:
            quoted(prompt)

    def score(self, prompts: Sequence[str], images: Sequence[Any]) -> Tensor:
        """Returns shares, ``(B,)`` float32."""
        check_prompt_count(prompts, images)
        rows = [(quoted(prompt), as_rgb(image)) for prompt, image in zip(prompts, images, strict=True)]
        return torch.tensor([_mean_match(texts, self._text(image)) for texts, image in rows], dtype=torch.float32)

    def _text(self, image: Image.Image) -> str:
        text = self.read(image)
        if not isinstance(text, str):
            raise UserError(f"the reader of {self.name} must return a string, got {type(text).__name__}.")
        return text


def quoted(prompt: str) -> list[str]:
    """Returns the texts that a prompt puts in double quotes. Raises DataError where there is none."""
    texts = [_plain("".join(match)) for match in _QUOTED.findall(prompt)]
    if not any(texts):
        raise DataError(
            f"The prompt '{prompt[:80]}' has no text in double quotes to look for. Leave it out, or the scorer ocr."
        )
    return [text for text in texts if text]


def edit_distance(one: str, other: str) -> int:
    """Returns the least number of inserted, deleted and replaced characters that turn one text into the other."""
    row = list(range(len(other) + 1))
    for number, character in enumerate(one, 1):
        above, row[0] = row[0], number
        for place, wanted in enumerate(other, 1):
            above, row[place] = row[place], min(row[place] + 1, row[place - 1] + 1, above + (character != wanted))
    return row[-1]


def _plain(text: str) -> str:
    return "".join(text.split()).lower()


def _mean_match(texts: Sequence[str], found: str) -> float:
    read = _plain(found)
    distances = [0 if text in read else min(edit_distance(read, text), len(text)) for text in texts]
    return sum(1 - d / len(text) for d, text in zip(distances, texts, strict=True)) / len(texts)


def _rapid_ocr() -> Callable[[Image.Image], str]:
    """Returns a reader with RapidOCR's own weights. Lines are joined from top to bottom, as it returns them."""
    try:
        from rapidocr import RapidOCR  # type: ignore[import-not-found]
    except ImportError:
        raise missing_package("ocr", "rapidocr with onnxruntime", "ocr") from None
    engine = RapidOCR()
    logging.getLogger("RapidOCR").setLevel(logging.ERROR)  # it warns of every image without a text

    def read(image: Image.Image) -> str:
        pixels = np.ascontiguousarray(np.asarray(image)[:, :, ::-1])  # it takes blue first, as OpenCV does
        return "".join(engine(pixels).txts or ())

    return read
