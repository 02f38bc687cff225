"""Setting of the text benchmarks: a small Llama with random weights, and pairs of random tokens.

22.9 M weights: width 384, 6 layers of 6 heads, 32,000 tokens, input and output embedding tied. Each token is one word
of the text, so tokenizing a text returns exactly the token ids that it was made from. The end token, which every
library appends to a plain text, is the last token of each response and not part of its text.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from diffalign.training.step.batch_order import BatchOrder, Visit

BETA = 0.1
LEARNING_RATE = 1e-5
MAX_GRAD_NORM = 1.0
LORA_TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj")
PAD, END = 0, 1
SPECIAL = ("<pad>", "<end>")


@dataclass(frozen=True)
class Shape:
    """Lengths of texts, and pairs per step.

    Args:
        prompt: Fewest and most tokens of a prompt, inclusive.
        response: Fewest and most tokens of a response, with the end token.
        pairs: Pairs per optimizer step.
    """

    prompt: tuple[int, int]
    response: tuple[int, int]
    pairs: int


SHAPES = {
    "384+64": Shape((384, 384), (64, 64), 2),
    "64+64": Shape((64, 64), (64, 64), 4),
    "varied": Shape((32, 384), (16, 128), 4),
}


@dataclass(frozen=True)
class Row:
    """A pair as token ids; both responses end with ``END``."""

    prompt: tuple[int, ...]
    chosen: tuple[int, ...]
    rejected: tuple[int, ...]

    def texts(self) -> dict[str, str]:
        """Returns texts in the columns of preference data. A response starts with the space after the prompt."""
        return {
            "prompt": _text(self.prompt),
            "chosen": " " + _text(self.chosen[:-1]),
            "rejected": " " + _text(self.rejected[:-1]),
        }


@dataclass(frozen=True)
class Job:
    """Model and pairs that all libraries of a comparison train on.

    Args:
        model: Folder of model and tokenizer.
        rows: All pairs.
        order: The pairs of each step.
    """

    model: Path
    rows: tuple[Row, ...]
    order: BatchOrder

    def visits(self, step: int) -> Sequence[Visit]:
        """Returns the pairs of an optimizer step."""
        return self.order.batch(step)


def make_job(model: Path, shape: Shape, *, vocabulary: int = 32_000) -> Job:
    """Makes pairs of a shape for a model of :func:`make_llama`. They last two steps, so the third step repeats pairs
    and has a lower loss."""
    count = 2 * shape.pairs
    return Job(model, make_rows(shape, count, vocabulary), BatchOrder(count, shape.pairs, seed=0))


def make_rows(shape: Shape, count: int, vocabulary: int) -> tuple[Row, ...]:
    """Returns pairs of random tokens; only the last token of a response is special."""
    random = np.random.default_rng(0)

    def draw(lengths: tuple[int, int], end: tuple[int, ...] = ()) -> tuple[int, ...]:
        length = int(random.integers(lengths[0], lengths[1] + 1)) - len(end)
        return (*map(int, random.integers(len(SPECIAL), vocabulary, length)), *end)

    return tuple(
        Row(draw(shape.prompt), draw(shape.response, (END,)), draw(shape.response, (END,))) for _ in range(count)
    )


def make_llama(
    folder: Path, *, width: int = 384, layers: int = 6, heads: int = 6, mlp: int = 1024, vocabulary: int = 32_000
) -> None:
    """Writes a Llama with random weights and its tokenizer."""
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=width,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        intermediate_size=mlp,
        max_position_embeddings=1024,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=END,
        pad_token_id=PAD,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    make_tokenizer(vocabulary).save_pretrained(folder)


def make_tokenizer(vocabulary: int) -> Any:
    """Returns a tokenizer in which the word ``w7`` is token 7."""
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import WhitespaceSplit
    from transformers import PreTrainedTokenizerFast

    words = {name: number for number, name in enumerate(SPECIAL)}
    words |= {_word(number): number for number in range(len(SPECIAL), vocabulary)}
    tokenizer = Tokenizer(WordLevel(words, unk_token=SPECIAL[PAD]))
    tokenizer.pre_tokenizer = WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token=SPECIAL[PAD], eos_token=SPECIAL[END])


def _word(token: int) -> str:
    return f"w{token}"


def _text(tokens: Sequence[int]) -> str:
    return " ".join(map(_word, tokens))
