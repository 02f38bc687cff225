"""Sentiment: how friendly a text is, by VADER's lexicon and rules.

    score_b = S / sqrt(S^2 + 15),      S = sum of the valences of the answer's words, with negations and intensities

The score is the published compound number, rounded to four decimals by the package. It saturates: a long friendly text
and a longer one have nearly the same score. The prompt is not read.

Source: Hutto and Gilbert 2014 (ICWSM), "VADER: A parsimonious rule-based model for sentiment analysis"; package
vaderSentiment.
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


class Sentiment(ComparesByScore):
    """VADER's compound sentiment of the answer."""

    medium = "text"
    reads_prompt = False
    unit = "compound sentiment"
    range = (-1.0, 1.0)
    license = "MIT"
    paper = "Hutto and Gilbert 2014 (ICWSM)"
    weights = ""
    name = "sentiment"

    def __init__(self) -> None:
        try:
            from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer
        except ImportError as error:
            raise missing_package("sentiment", "vaderSentiment", "text") from error
        self._vader = SentimentIntensityAnalyzer()

    @classmethod
    def load(cls, argument: str = "", device: str = "cpu") -> Sentiment:
        """Builds the scorer for the registry; it uses no device."""
        if argument:
            raise UserError(f"sentiment takes no argument; got '{argument}'. Write: --scorer sentiment")
        return cls()

    def score(self, prompts: Sequence[Any], texts: Sequence[Any]) -> Tensor:
        """Returns compound sentiments, ``(B,)`` float32."""
        check_prompt_count(prompts, texts)
        scores = [self._vader.polarity_scores(as_answer(text))["compound"] for text in texts]
        return torch.tensor(scores, dtype=torch.float32)
