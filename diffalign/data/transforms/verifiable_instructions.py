"""Verifiable instructions: rules that a program can check on an answer, each with its wording and its checker.

A rule proposes an argument that one answer fulfils and, where possible, another one does not. Two rules ``about`` the
same property are never combined in one prompt. No rule is about the language, which only a model could detect.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from random import Random
from typing import Any

Facts = str | Mapping[str, str]
"""The input of a checker: an answer's text, or an image's attributes."""


@dataclass(frozen=True)
class Rule:
    """A kind of instruction.

    Args:
        name: Its name.
        about: The property that it restricts.
        format: The instruction with an argument, as a sentence (for an image: as a phrase).
        holds: Whether an answer follows it: ``holds(answer, argument)``.
        propose: ``propose(answer, other, random)``: an argument that ``answer`` follows, and ``other`` does not where
            there is one; None where the rule does not apply.
    """

    name: str
    about: str
    format: Callable[[Any], str]
    holds: Callable[[Any, Any], bool]
    propose: Callable[[Any, Any, Random], Any]


@lru_cache(maxsize=64)
def words(text: str) -> tuple[str, ...]:
    """Returns the words of a text: runs of letters, digits and apostrophes."""
    return tuple(re.findall(r"[^\W_]+(?:['’][^\W_]+)*", text))


@lru_cache(maxsize=64)
def count_words(text: str) -> Counter[str]:
    """Counts each word, in lower case."""
    return Counter(map(str.lower, words(text)))


def count_sentences(text: str) -> int:
    """Counts the parts that end in ``.``, ``!`` or ``?``, or at the end of a line or of the text."""
    return sum(bool(words(part)) for line in text.splitlines() for part in re.split(r"[.!?]+(?=\s|$)", line))


def count_paragraphs(text: str) -> int:
    """Counts the blocks that are separated by empty lines."""
    return sum(bool(block.strip()) for block in re.split(r"\n\s*\n", text))


def count_bullets(text: str) -> int:
    """Counts the lines that begin with ``-``, ``*``, ``•`` or a number with a dot or bracket."""
    return sum(bool(re.match(r"\s*(?:[-*•]|\d+[.)])\s+\S", line)) for line in text.splitlines())


def has_word(text: str, word: str) -> bool:
    """Returns whether the word occurs, in any case."""
    return word.lower() in count_words(text)


def is_json(text: str) -> bool:
    """Returns whether the text is an object or a list in JSON."""
    try:
        return isinstance(json.loads(text), (dict, list))
    except (ValueError, RecursionError):
        return False


def _propose_length(text: str, other: str, random: Random) -> tuple[str, int] | None:
    """Returns a bound between the two lengths where they differ, otherwise one near the text's own length."""
    own_length, other_length = len(words(text)), len(words(other))
    if own_length < 2:
        return None
    if own_length > other_length:
        low = other_length + 1
        return "at least", _round(random.randint(max(low, own_length * 2 // 3), own_length), -1, low, own_length)
    top = other_length - 1 if other_length > own_length else own_length + own_length // 2
    bound = random.randint(own_length, max(own_length, min(top, 2 * own_length)))
    return "at most", _round(bound, +1, own_length, max(own_length, top))


def _round(number: int, direction: int, low: int, high: int) -> int:
    """Rounds down or up to a multiple of five, as people would ask for, where that is at least 10 and in bounds."""
    rounded = (number + (4 if direction > 0 else 0)) // 5 * 5
    return rounded if rounded >= 10 and low <= rounded <= high else number


def _propose_keyword(text: str, other: str, random: Random) -> str | None:
    candidates = _long_words(text)
    missing_in_other = [word for word in candidates if word not in count_words(other)]
    return random.choice(missing_in_other or candidates) if candidates else None


def _propose_keyword_count(text: str, other: str, random: Random) -> tuple[str, int] | None:
    counts, other_counts = count_words(text), count_words(other)
    candidates = sorted(w for w, n in counts.items() if n >= 2 and other_counts[w] < n and len(w) >= 3 and w.isalpha())
    if not candidates:
        return None
    word = random.choice(candidates)
    return word, counts[word]


def _propose_absent_word(text: str, other: str, random: Random) -> str | None:
    candidates = [word for word in _long_words(other) if word not in count_words(text)]
    return random.choice(candidates) if candidates else None


def _long_words(text: str) -> list[str]:
    return sorted(word for word in count_words(text) if len(word) >= 4 and word.isalpha())


def _propose_case(text: str, other: str, random: Random) -> str | None:
    return "small letters" if text.islower() else "capital letters" if text.isupper() else None


def _propose_start(text: str, other: str, random: Random) -> str | None:
    line = text.lstrip().partition("\n")[0]
    return _quotable(" ".join(line.split(" ")[:3]))


def _propose_end(text: str, other: str, random: Random) -> str | None:
    line = text.rstrip().rpartition("\n")[2]
    return _quotable(" ".join(line.split(" ")[-3:]))


def _quotable(phrase: str) -> str | None:
    phrase = phrase.strip()
    return phrase if words(phrase) and '"' not in phrase and len(phrase) <= 60 else None


MARKS = {
    ",": "commas",
    ";": "semicolons",
    ":": "colons",
    "!": "exclamation marks",
    "?": "question marks",
    "(": "brackets",
}


def _propose_mark(text: str, other: str, random: Random) -> str | None:
    candidates = [mark for mark in MARKS if mark in text and mark not in other]
    return random.choice(candidates) if candidates else None


def _propose_absent_mark(text: str, other: str, random: Random) -> str | None:
    unused = [mark for mark in MARKS if mark not in text]
    used_by_other = [mark for mark in unused if mark in other]
    return random.choice(used_by_other or unused) if unused else None


def _exactly(count: int, noun: str) -> str:
    return f"exactly {count} {noun}{'s' * (count != 1)}" if count else f"no {noun}s"


def _has_length(text: str, length: tuple[str, int]) -> bool:
    comparison, bound = length
    return len(words(text)) >= bound if comparison == "at least" else len(words(text)) <= bound


RULES: tuple[Rule, ...] = (
    Rule("words", "length", lambda a: f"Use {a[0]} {a[1]} words.", _has_length, _propose_length),
    Rule(
        "sentences",
        "sentences",
        lambda n: f"Write {_exactly(n, 'sentence')}.",
        lambda text, n: count_sentences(text) == n,
        lambda text, other, random: count_sentences(text) or None,
    ),
    Rule(
        "paragraphs",
        "paragraphs",
        lambda n: f"Write {_exactly(n, 'paragraph')}, parted by empty lines.",
        lambda text, n: count_paragraphs(text) == n,
        lambda text, other, random: count_paragraphs(text) or None,
    ),
    Rule(
        "bullets",
        "bullets",
        lambda n: f"Use {_exactly(n, 'list item')}.",
        lambda text, n: count_bullets(text) == n,
        lambda text, other, random: count_bullets(text),
    ),
    Rule("keyword", "keyword", lambda word: f'Use the word "{word}".', has_word, _propose_keyword),
    Rule(
        "no_keyword",
        "absent word",
        lambda word: f'Do not use the word "{word}".',
        lambda text, word: not has_word(text, word),
        _propose_absent_word,
    ),
    Rule(
        "keyword_count",
        "keyword count",
        lambda a: f'Use the word "{a[0]}" {a[1]} times or more.',
        lambda text, a: count_words(text)[a[0]] >= a[1],
        _propose_keyword_count,
    ),
    Rule(
        "case",
        "case",
        lambda case: f"Write in {case} only.",
        lambda text, case: text.islower() if case == "small letters" else text.isupper(),
        _propose_case,
    ),
    Rule("start", "start", lambda p: f'Begin with "{p}".', lambda text, p: text.lstrip().startswith(p), _propose_start),
    Rule("end", "end", lambda p: f'End with "{p}".', lambda text, p: text.rstrip().endswith(p), _propose_end),
    Rule(
        "json",
        "form",
        lambda wanted: "Answer with JSON alone." if wanted else "Do not answer with JSON.",
        lambda text, wanted: is_json(text) == wanted,
        lambda text, other, random: is_json(text) if is_json(text) or is_json(other) else None,
    ),
    Rule("mark", "mark", lambda m: f"Use {MARKS[m]}.", lambda text, mark: mark in text, _propose_mark),
    Rule(
        "no_mark",
        "absent mark",
        lambda m: f"Do not use {MARKS[m]}.",
        lambda text, mark: mark not in text,
        _propose_absent_mark,
    ),
)


def attribute(name: str, phrase: str = "{}") -> Rule:
    """Returns a rule about an attribute of images, such as a colour or a count.

    Args:
        name: The attribute.
        phrase: Its wording, with ``{}`` in place of the value: ``"at the {}"``.
    """
    return Rule(
        name,
        name,
        lambda value: phrase.format(value),
        lambda facts, value: facts.get(name) == value,
        lambda facts, other, random: facts.get(name) or None,
    )
