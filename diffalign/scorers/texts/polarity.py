"""Polarity: how friendly a text is, by the lexicon of Pattern in TextBlob.

    score_b = mean of the polarities of the answer's words in the lexicon, each in [-1, 1]

An intensifier before a word scales it ("very great"), a negation halves it and changes its sign ("not great"). Words
that are not in the lexicon do not count, and a text without any scores 0. Because the score is a mean, long texts have
no advantage. Its words and raters differ from VADER's, so it can serve as a held-out judge of pairs that `sentiment`
made. The prompt is not read.

Source: De Smedt and Daelemans 2012 (JMLR 13), "Pattern for Python"; package textblob, lexicon en-sentiment.xml 1.3.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from diffalign.errors import UserError
from diffalign.scorers.compare import ComparesByScore
from diffalign.scorers.scorer import check_prompt_count, missing_package
from diffalign.scorers.texts.text_input import as_answer


class Polarity(ComparesByScore):
    """Mean polarity of the answer's words that are in the lexicon."""

    medium = "text"
    reads_prompt = False
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
            raise missing_package("polarity", "textblob", "text") from error
        self._read = TextBlob

    @classmethod
    def load(cls, argument: str = "", device: str = "cpu") -> Polarity:
        """Builds the scorer for the registry; it uses no device."""
        if argument:
            raise UserError(f"polarity takes no argument; got '{argument}'. Write: --scorer polarity")
        return cls()

    def score(self, prompts: Sequence[Any], texts: Sequence[Any]) -> Tensor:
        """Returns mean polarities, ``(B,)`` float32."""
        check_prompt_count(prompts, texts)
        return torch.tensor([self._read(as_answer(text)).sentiment.polarity for text in texts], dtype=torch.float32)
