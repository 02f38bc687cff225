"""AFINN: how friendly a text is, by a list of words that one person rated from -5 to 5.

    score_b = sum of the ratings of the answer's words and phrases / number of its words

Per word, so that a text does not win by being long; nothing is negated or intensified. The list is another one than
VADER's and was rated by somebody else, so it can hold out as the judge where `sentiment` made the pairs. The prompt is
not read.

Source: Nielsen 2011 (arXiv 1103.2903); package afinn, list AFINN-en-165.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from diffalign.errors import UserError
from diffalign.scorers.scorer import paired
from diffalign.scorers.texts import as_answer, missing_package


class AfinnWords:
    """Mean rating of the answer's words."""

    medium = "text"
    unit = "rating per word"
    range = (-5.0, 5.0)
    license = "GPL, its list of words ODbL"
    paper = "arXiv 1103.2903"
    weights = ""
    name = "afinn"

    def __init__(self) -> None:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # Python 3.12 minds an escape in the package's source
                from afinn import Afinn
        except ImportError as error:
            raise missing_package("afinn", "afinn") from error
        self._afinn = Afinn()

    @classmethod
    def load(cls, argument: str = "", device: str = "cpu") -> AfinnWords:
        """The table's loader; there is nothing to put on a device."""
        if argument:
            raise UserError(f"afinn takes no argument; got '{argument}'. Write: --scorer afinn")
        return cls()

    def score(self, prompts: Sequence[Any], texts: Sequence[Any]) -> Tensor:
        """Mean ratings, ``(B,)`` float32; 0 for a text without words."""
        paired(prompts, texts)
        return torch.tensor([self._mean(as_answer(text)) for text in texts], dtype=torch.float32)

    def _mean(self, text: str) -> float:
        return self._afinn.score(text) / max(1, len(re.findall(r"\w+", text)))
