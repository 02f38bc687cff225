"""Length: how long a text is. A preference that is easy to see, and a control for every other judge.

score_b = number of the answer's words, or of its tokens
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from diffalign.errors import UserError
from diffalign.files.complete_weights import one_sentence
from diffalign.quiet import quiet
from diffalign.scorers.compare import ComparesByScore
from diffalign.scorers.scorer import check_prompt_count
from diffalign.scorers.texts.text_input import as_answer

WORDS = "words"


class Length(ComparesByScore):
    """Length of the answer.

    Args:
        tokenizer: Counts the tokens; with None, words separated by whitespace are counted.
        name: Its name in reports.
    """

    medium = "text"
    reads_prompt = False
    range = (0.0, float("inf"))
    license = "Apache-2.0"
    paper = "none: a definition"
    weights = ""

    def __init__(self, tokenizer: Any = None, name: str = "length") -> None:
        self._tokenizer, self.name = tokenizer, name
        self.unit = WORDS if tokenizer is None else "tokens"

    @classmethod
    def load(cls, argument: str = "", device: str = "cpu") -> Length:
        """Counts words without an argument (or with ``words``), otherwise tokens of that folder or hub id.

        Raises:
            UserError: There is no tokenizer.
        """
        if argument in ("", WORDS):
            return cls()
        from transformers import AutoTokenizer

        advice = "Write length for words, or length:FOLDER with the folder or hub id of a tokenizer."
        with one_sentence(f"Cannot load a tokenizer from '{argument}'", UserError, advice), quiet():
            tokenizer = AutoTokenizer.from_pretrained(argument)
        return cls(tokenizer, f"length:{argument}")

    def score(self, prompts: Sequence[Any], texts: Sequence[Any]) -> Tensor:
        """Returns lengths, ``(B,)`` float32."""
        check_prompt_count(prompts, texts)
        return torch.tensor([self._count(as_answer(text)) for text in texts], dtype=torch.float32)

    def _count(self, text: str) -> int:
        if self._tokenizer is None:
            return len(text.split())
        return len(self._tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])
