"""Instructions that can be checked by looking at an answer: a table of rules, each with its words and its checker.

A rule proposes an argument that one answer fulfils and, where it can, another one does not. Two rules ``about`` the
same thing never stand in one prompt. A language is not among them: to tell it a model would be needed.
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
"""What a checker sees: an answer's text, or an image's attributes."""


@dataclass(frozen=True)
class Rule:
    """A kind of instruction.

    Args:
        name: Its name.
        about: What it restricts.
        say: The instruction with an argument, as a sentence (of an image: as a phrase).
        holds: Whether an answer follows it: ``holds(answer, argument)``.
        propose: ``propose(answer, other, random)``: an argument that ``answer`` follows, one that tells it from
            ``other`` where there is one; None where the rule has nothing to say.
    """

    name: str
    about: str
    say: Callable[[Any], str]
    holds: Callable[[Any, Any], bool]
    propose: Callable[[Any, Any, Random], Any]


@lru_cache(maxsize=64)
def words(text: str) -> tuple[str, ...]:
    """Its words: runs of letters, digits and apostrophes."""
    return tuple(re.findall(r"[^\W_]+(?:['’][^\W_]+)*", text))


@lru_cache(maxsize=64)
def lowered(text: str) -> Counter[str]:
    """How often each word occurs, in small letters."""
    return Counter(map(str.lower, words(text)))


def sentences(text: str) -> int:
    """How many stretches end in ``.``, ``!`` or ``?``, or at the end of a line or of the text."""
    return sum(bool(words(part)) for line in text.splitlines() for part in re.split(r"[.!?]+(?=\s|$)", line))


def paragraphs(text: str) -> int:
    """How many blocks are parted by empty lines."""
    return sum(bool(block.strip()) for block in re.split(r"\n\s*\n", text))


def bullets(text: str) -> int:
    """How many lines begin with ``-``, ``*``, ``•`` or a number with a dot or bracket."""
    return sum(bool(re.match(r"\s*(?:[-*•]|\d+[.)])\s+\S", line)) for line in text.splitlines())


def has_word(text: str, word: str) -> bool:
    """Whether the word occurs, in capitals or not."""
    return word.lower() in lowered(text)


def is_json(text: str) -> bool:
    """Whether the text is an object or a list in JSON."""
    try:
        return isinstance(json.loads(text), (dict, list))
    except (ValueError, RecursionError):
        return False


def _length(text: str, other: str, random: Random) -> tuple[str, int] | None:
    """A bound between the two lengths where they differ, else one around the own length."""
    own, second = len(words(text)), len(words(other))
    if own < 2:
        return None
    if own > second:
        return "at least", _round(random.randint(max(second + 1, own * 2 // 3), own), -1, second + 1, own)
    top = second - 1 if second > own else own + own // 2
    return "at most", _round(random.randint(own, max(own, min(top, 2 * own))), +1, own, max(own, top))


def _round(number: int, way: int, low: int, high: int) -> int:
    """A multiple of five nearby, where that stays within the bounds: people ask for round numbers."""
    near = (number + (4 if way > 0 else 0)) // 5 * 5
    return near if near >= 10 and low <= near <= high else number


def _keyword(text: str, other: str, random: Random) -> str | None:
    found = _long(text)
    own = [word for word in found if word not in lowered(other)]
    return random.choice(own or found) if found else None


def _often(text: str, other: str, random: Random) -> tuple[str, int] | None:
    count, there = lowered(text), lowered(other)
    found = sorted(w for w, n in count.items() if n >= 2 and there[w] < n and len(w) >= 3 and w.isalpha())
    if not found:
        return None
    word = random.choice(found)
    return word, count[word]


def _absent(text: str, other: str, random: Random) -> str | None:
    found = [word for word in _long(other) if word not in lowered(text)]
    return random.choice(found) if found else None


def _long(text: str) -> list[str]:
    return sorted(word for word in lowered(text) if len(word) >= 4 and word.isalpha())


def _case(text: str, other: str, random: Random) -> str | None:
    return "small letters" if text.islower() else "capital letters" if text.isupper() else None


def _start(text: str, other: str, random: Random) -> str | None:
    line = text.lstrip().partition("\n")[0]
    return _phrase(" ".join(line.split(" ")[:3]))


def _end(text: str, other: str, random: Random) -> str | None:
    line = text.rstrip().rpartition("\n")[2]
    return _phrase(" ".join(line.split(" ")[-3:]))


def _phrase(found: str) -> str | None:
    found = found.strip()
    return found if words(found) and '"' not in found and len(found) <= 60 else None


MARKS = {
    ",": "commas",
    ";": "semicolons",
    ":": "colons",
    "!": "exclamation marks",
    "?": "question marks",
    "(": "brackets",
}


def _used(text: str, other: str, random: Random) -> str | None:
    found = [mark for mark in MARKS if mark in text and mark not in other]
    return random.choice(found) if found else None


def _unused(text: str, other: str, random: Random) -> str | None:
    free = [mark for mark in MARKS if mark not in text]
    telling = [mark for mark in free if mark in other]
    return random.choice(telling or free) if free else None


def _exactly(count: int, what: str) -> str:
    return f"exactly {count} {what}{'s' * (count != 1)}" if count else f"no {what}s"


def _held(length: tuple[str, int], text: str) -> bool:
    way, bound = length
    return len(words(text)) >= bound if way == "at least" else len(words(text)) <= bound


RULES: tuple[Rule, ...] = (
    Rule("words", "length", lambda a: f"Use {a[0]} {a[1]} words.", lambda text, a: _held(a, text), _length),
    Rule(
        "sentences",
        "sentences",
        lambda n: f"Write {_exactly(n, 'sentence')}.",
        lambda text, n: sentences(text) == n,
        lambda text, other, random: sentences(text) or None,
    ),
    Rule(
        "paragraphs",
        "paragraphs",
        lambda n: f"Write {_exactly(n, 'paragraph')}, parted by empty lines.",
        lambda text, n: paragraphs(text) == n,
        lambda text, other, random: paragraphs(text) or None,
    ),
    Rule(
        "bullets",
        "bullets",
        lambda n: f"Use {_exactly(n, 'list item')}.",
        lambda text, n: bullets(text) == n,
        lambda text, other, random: bullets(text),
    ),
    Rule("keyword", "keyword", lambda word: f'Use the word "{word}".', has_word, _keyword),
    Rule(
        "no_keyword",
        "absent word",
        lambda word: f'Do not use the word "{word}".',
        lambda text, word: not has_word(text, word),
        _absent,
    ),
    Rule(
        "keyword_count",
        "keyword count",
        lambda a: f'Use the word "{a[0]}" {a[1]} times or more.',
        lambda text, a: lowered(text)[a[0]] >= a[1],
        _often,
    ),
    Rule(
        "case",
        "case",
        lambda case: f"Write in {case} only.",
        lambda text, case: text.islower() if case == "small letters" else text.isupper(),
        _case,
    ),
    Rule("start", "start", lambda p: f'Begin with "{p}".', lambda text, p: text.lstrip().startswith(p), _start),
    Rule("end", "end", lambda p: f'End with "{p}".', lambda text, p: text.rstrip().endswith(p), _end),
    Rule(
        "json",
        "form",
        lambda wanted: "Answer with JSON alone." if wanted else "Do not answer with JSON.",
        lambda text, wanted: is_json(text) == wanted,
        lambda text, other, random: is_json(text) if is_json(text) or is_json(other) else None,
    ),
    Rule("mark", "mark", lambda m: f"Use {MARKS[m]}.", lambda text, mark: mark in text, _used),
    Rule("no_mark", "absent mark", lambda m: f"Do not use {MARKS[m]}.", lambda text, mark: mark not in text, _unused),
)


def attribute(name: str, phrase: str = "{}") -> Rule:
    """A rule about an attribute of images, such as a colour or a count.

    Args:
        name: The attribute.
        phrase: Its words; ``{}`` stands for the value: ``"at the {}"``.
    """
    return Rule(
        name,
        name,
        lambda value: phrase.format(value),
        lambda facts, value: facts.get(name) == value,
        lambda facts, other, random: facts.get(name) or None,
    )
