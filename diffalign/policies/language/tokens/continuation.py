"""Tokens of an answer where it follows a prompt whose tokens are fixed.

A token may cross the border between prompt and answer, as where ``"ask:"`` and ``" yes"`` merge their colon and space.
Generation starts from the prompt's own tokens, so training does as well, and the answer is tokenised apart from it.
Many tokenizers of the SentencePiece kind put a space before every text, so that an answer tokenised alone would begin
with a space that its text does not have. The law: the tokens of prompt and answer decode to the text of both, as the
tokens of that text do.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from diffalign.policies.language.tokens.tokenizer_info import encode, special_tokens

_ANCHORS = ("\n", ".", "a", "0", ":", ")", "-")
"""Texts after which an answer may be tokenised in place of its prompt, where no token crosses that border."""


def continuation_ids(tokenizer: Any, before: Sequence[int], text: str, whole: Sequence[int]) -> tuple[list[int], str]:
    """Returns the tokens of ``text`` after ``before``, and the anchor in front of it with which they were found.

    Args:
        tokenizer: A tokenizer of transformers.
        before: Tokens of the prompt's end.
        text: The answer.
        whole: Tokens of the prompt's end and the answer, tokenised together: what they decode to is the text.

    Facts: decoded after ``before``, the tokens give the decoded ``whole`` wherever an anchor allows it. A tokenizer
    whose tokens within a word look unlike those at its start (WordPiece) may allow none; then the answer's own tokens
    are returned.
    """
    alone = encode(tokenizer, [text])[0]
    expected = _decode(tokenizer, whole)
    if _decode(tokenizer, [*before, *alone]) == expected:
        return alone, ""
    anchors = (*special_tokens(tokenizer), *_ANCHORS)
    found = encode(tokenizer, [piece for anchor in anchors for piece in (anchor, anchor + text)])
    for anchor, start, ids in zip(anchors, found[::2], found[1::2], strict=True):
        rest = ids[len(start) :]
        if ids[: len(start)] == start and _decode(tokenizer, [*before, *rest]) == expected:
            return rest, anchor
    return alone, ""


def begin_once(begin: Sequence[int], ids: Sequence[int]) -> tuple[int, ...]:
    """Returns the tokens of a text with the tokenizer's begin tokens before them, which a rendered text may have."""
    return tuple(ids) if tuple(ids[: len(begin)]) == tuple(begin) else (*begin, *ids)


def cut_after_end(tokenizer: Any, ids: list[int], ends: Sequence[int]) -> list[int]:
    """Returns the tokens without white space after the last end token, such as the newline that templates write there.

    No model generates it, since generation stops at the end token.
    """
    last = max((position for position, token in enumerate(ids) if token in ends), default=len(ids) - 1)
    after = ids[last + 1 :]
    return ids if not after or _decode(tokenizer, after).strip() else ids[: last + 1]


def _decode(tokenizer: Any, ids: Sequence[int]) -> str:
    return tokenizer.decode(list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False)
