"""Polarity: how friendly a text is, by the lexicon of Pattern as TextBlob carries it.

    score_b = mean of the polarities of the answer's known words, each in [-1, 1]

An intensity before a word scales it ("very great"), a negation halves and turns it ("not great"); words that the
lexicon does not know do not count, and a text without known words scores 0. A mean, so that a text does not win by
being long. Other words, rated by other people, than VADER's: it can hold out as the judge where `sentiment` made the
pairs. The prompt is not read.

Source: De Smedt and Daelemans 2012 (JMLR 13), "Pattern for Python"; package textblob, lexicon en-sentiment.xml 1.3.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from diffalign.errors import UserError
from diffalign.scorers.scorer import check_prompt_count
from diffalign.scorers.text_input import as_answer, missing_package


class Polarity:
    """Mean polarity of the answer's known words."""

    medium = "text"
    unit = "mean polarity of known words"
    range = (-1.0, 1.0)
    license = "MIT, its lexicon PDDL"
    paper = "De Smedt and Daelemans 2012 (JMLR 13)"
    weights = ""
    name = "polarity"

    def __init__(self) -> None:
        try:
            from textblob import TextBlob
        except ImportError as error:
            raise missing_package("polarity", "textblob") from error
        self._read = TextBlob

    @classmethod
    def load(cls, argument: str = "", device: str = "cpu") -> Polarity:
        """The table's loader; there is nothing to put on a device."""
        if argument:
            raise UserError(f"polarity takes no argument; got '{argument}'. Write: --scorer polarity")
        return cls()

    def score(self, prompts: Sequence[Any], texts: Sequence[Any]) -> Tensor:
        """Mean polarities, ``(B,)`` float32."""
        check_prompt_count(prompts, texts)
        return torch.tensor([self._read(as_answer(text)).sentiment.polarity for text in texts], dtype=torch.float32)
