"""Where a text may be cut between two words, also in scripts that write no spaces between them."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

_SPACELESS = (
    (0x0E00, 0x0EFF),  # Thai and Lao
    (0x0F00, 0x109F),  # Tibetan and Burmese
    (0x1780, 0x17FF),  # Khmer
    (0x2E80, 0x312F),  # radicals, punctuation, kana, bopomofo
    (0x31A0, 0xA4CF),  # kana and ideographs, Yi
    (0xF900, 0xFAFF),  # compatibility ideographs
    (0xFE30, 0xFE4F),  # vertical forms
    (0xFF00, 0xFFEF),  # full-width forms
    (0x1B000, 0x1B16F),  # further kana
    (0x20000, 0x3FFFF),  # further ideographs
)
_BEFORE_THEIR_CONSONANT = frozenset("เแโใไເແໂໃໄ")
_AFTER_THEIR_CONSONANT = frozenset("ะาำๅຳາະ\u200d\u17d2")


def last_border(shared: str, texts: Sequence[str]) -> int:
    """Returns the length of ``shared`` up to its last border between words; 0 where it has none.

    A border lies after white space, and between two letters of which one belongs to a script without spaces: each of
    its letters counts as a word, with the vowels, marks and closing punctuation after it.

    Args:
        shared: The common beginning of ``texts``.
        texts: None of them may be cut within a word, and each keeps at least one word after the border.
    """
    if not shared:
        return 0
    ends = [text[len(shared) : len(shared) + 1] for text in texts]
    if shared[-1:].isspace() or all(end and _is_border(shared, end) for end in ends):
        return len(shared)
    return next((n for n in range(len(shared) - 1, 0, -1) if _is_border(shared[:n], shared[n])), 0)


def _is_border(before: str, after: str) -> bool:
    """Returns whether a word ends with ``before``, which is followed by the character ``after``."""
    last = before[-1]
    if last.isspace():
        return True
    if not (_is_spaceless(last) or _is_spaceless(after)):
        return False
    kind = unicodedata.category(after)
    joined = kind[0] == "M" or kind in ("Po", "Pe", "Pf", "Pd") or after in _AFTER_THEIR_CONSONANT
    return not joined and last not in _BEFORE_THEIR_CONSONANT and unicodedata.combining(last) != 9  # 9: a virama


def _is_spaceless(character: str) -> bool:
    return bool(character) and any(first <= ord(character) <= last for first, last in _SPACELESS)
