"""Features of texts that need no understanding of their content."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Sequence

import numpy as np

from diffalign.data.records.conversation import ASSISTANT, Text
from diffalign.data.separability.probe import Array

FIRST = 20
"""Words and marks at an answer's beginning that the hashed features cover."""

BUCKETS = 256
MARKS = ("!", "?", ",", ".", ":", ";", "'", '"', "(", "-", "*", "#", "`", "|", "\n")
REFUSALS = (
    "i can't",
    "i cannot",
    "i can not",
    "i'm sorry",
    "i am sorry",
    "i apologize",
    "i apologise",
    "i'm unable",
    "i am unable",
    "i won't",
    "not able to help",
    "as an ai",
    "as a language model",
)
_PIECE = re.compile(r"\w+|[^\w\s]")
_BULLET = re.compile(r"^\s*[-*•]\s", re.MULTILINE)
_NUMBERED = re.compile(r"^\s*\d+[.)]\s", re.MULTILINE)
_HEADING = re.compile(r"^#{1,6}\s", re.MULTILINE)

SURFACE = (
    "log characters",
    "log words",
    "mean word length",
    "capitals",
    "digits",
    *(f"rate of {mark!r}" for mark in MARKS),
    "bullets",
    "numbered items",
    "headings",
    "bold",
    "code blocks",
    "begins with a space",
    "ends with a full stop",
    "other alphabets",
    *(f"says {phrase!r}" for phrase in REFUSALS),
)
"""Names of the features of :func:`surface`, in order."""


def answer_text(text: Text) -> str:
    """Returns the text of an answer: the string itself, or the assistant's turns."""
    if isinstance(text, str):
        return text
    return "\n".join(turn.content for turn in text.messages if turn.role == ASSISTANT)


def surface(texts: Sequence[str]) -> Array:
    """Returns lengths, rates of marks per character, list markers and refusals of each text, ``(N, D)``."""
    return np.array([_surface(text) for text in texts], dtype=np.float64).reshape(len(texts), len(SURFACE))


def length(texts: Sequence[str]) -> Array:
    """Returns the logarithms of the numbers of characters and words, ``(N, 2)``, the features of a length baseline."""
    return surface(texts)[:, :2]


def opening(texts: Sequence[str]) -> Array:
    """Hashes the first 20 words and marks, and their neighbouring pairs, into ``(N, 256)`` indicators."""
    table = np.zeros((len(texts), BUCKETS))
    for row, text in enumerate(texts):
        pieces = [piece.lower() for piece in _PIECE.findall(text[: FIRST * 64])[:FIRST]]
        for part in (*pieces, *(f"{a} {b}" for a, b in zip(pieces, pieces[1:], strict=False))):
            digest = hashlib.blake2b(part.encode("utf-8", "surrogatepass"), digest_size=4).digest()
            table[row, int.from_bytes(digest, "little") % BUCKETS] = 1.0
    return table


def _surface(text: str) -> list[float]:
    pieces, size = text.split(), max(1, len(text))
    lower = text.lower().replace("\u2019", "'")
    return [
        math.log1p(len(text)),
        math.log1p(len(pieces)),
        sum(map(len, pieces)) / max(1, len(pieces)),
        sum(letter.isupper() for letter in text) / size,
        sum(letter.isdigit() for letter in text) / size,
        *(text.count(mark) / size for mark in MARKS),
        math.log1p(len(_BULLET.findall(text))),
        math.log1p(len(_NUMBERED.findall(text))),
        math.log1p(len(_HEADING.findall(text))),
        math.log1p(text.count("**") // 2),
        math.log1p(text.count("```") // 2),
        float(text[:1].isspace()),
        float(text.rstrip().endswith(".")),
        sum(ord(letter) > 127 for letter in text) / size,
        *(float(phrase in lower) for phrase in REFUSALS),
    ]
