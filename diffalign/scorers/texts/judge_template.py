"""The template of a generative judge: its questions, and which replies count as a verdict.

A reply counts if it contains exactly one of the marks, however often; what a reasoning model wrote before
``</think>`` is not read. Everything else is no verdict: two marks, none, a grade outside the scale.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diffalign.errors import UserError
from diffalign.files.text_files import read_text_file
from diffalign.files.yaml_text import read_yaml

DEFAULT = Path(__file__).parent / "templates" / "judge.yaml"
FIRST, SECOND, TIE = 1.0, 0.0, 0.5
"""Verdicts as the first answer's share of the win."""
THOUGHT_END = "</think>"
GRADE = "{grade}"


@dataclass(frozen=True)
class Comparison:
    """How two answers are compared.

    Args:
        text: The request to the judge, with the places {prompt}, {first} and {second}.
        first, second, tie: The marks of the three verdicts.
    """

    text: str
    first: str
    second: str
    tie: str

    def ask(self, prompt: str, first: str, second: str) -> str:
        """Returns the request with the places filled in."""
        return _fill(self.text, {"prompt": prompt, "first": first, "second": second})

    def read(self, reply: str) -> float | None:
        """Returns 1, 0 or 1/2, the first answer's share; None where the reply holds no verdict."""
        marks = {self.first: FIRST, self.second: SECOND, self.tie: TIE}
        found = {share for mark, share in marks.items() if mark in _conclusion(reply)}
        return found.pop() if len(found) == 1 else None


@dataclass(frozen=True)
class Grading:
    """How one answer is graded.

    Args:
        text: The request to the judge, with the places {prompt} and {answer}.
        mark: What a grade looks like, with the place {grade}.
        least, most: Ends of the scale.
    """

    text: str
    mark: str
    least: float
    most: float

    def ask(self, prompt: str, answer: str) -> str:
        """Returns the request with the places filled in."""
        return _fill(self.text, {"prompt": prompt, "answer": answer})

    def read(self, reply: str) -> float | None:
        """Returns the grade; None where the reply holds none, several, or one outside the scale."""
        before, after = map(re.escape, self.mark.split(GRADE))
        found = {float(grade) for grade in re.findall(rf"{before}(-?\d+(?:\.\d+)?){after}", _conclusion(reply))}
        grade = found.pop() if len(found) == 1 else None
        return grade if grade is not None and self.least <= grade <= self.most else None


@dataclass(frozen=True)
class JudgeTemplate:
    """A judge's template.

    Args:
        compare: How two answers are compared.
        grade: How one is graded; None for a judge that only compares.
        max_new_tokens: Most tokens of a reply.
        system: A system turn; empty for none.
    """

    compare: Comparison
    grade: Grading | None
    max_new_tokens: int = 512
    system: str = ""


def read_template(path: Path = DEFAULT) -> JudgeTemplate:
    """Reads a template file.

    Raises:
        UserError: It is no YAML, or lacks a part, a place or a mark.
    """
    content = read_yaml(read_text_file(path), str(path), UserError)
    if not isinstance(content, Mapping):
        raise UserError(
            f"{path} must hold the parts compare and grade, as {DEFAULT} does; got {type(content).__name__}."
        )
    known = {"compare", "grade", "max_new_tokens", "system"}
    if unknown := set(content) - known:
        raise UserError(f"{path} has an unknown part {min(map(str, unknown))!r}. Known: {', '.join(sorted(known))}.")
    compare = Comparison(**_part(content, "compare", ("text", "first", "second", "tie"), path))
    _check_places(compare.text, ("prompt", "first", "second"), "compare", path)
    marks = (compare.first, compare.second, compare.tie)
    if any(a in b for a in marks for b in marks if a is not b) or not all(marks):
        raise UserError(f"{path}: the marks of compare must differ and not contain each other; got {', '.join(marks)}.")
    grade = _grading(content, path) if content.get("grade") is not None else None
    tokens, system = content.get("max_new_tokens", 512), content.get("system", "")
    if not isinstance(tokens, int) or isinstance(tokens, bool) or tokens < 1 or not isinstance(system, str):
        raise UserError(f"{path}: max_new_tokens is a whole number of at least 1, and system a text.")
    return JudgeTemplate(compare, grade, tokens, system)


def _grading(content: Mapping[str, Any], path: Path) -> Grading:
    grade = Grading(**_part(content, "grade", ("text", "mark", "least", "most"), path))
    _check_places(grade.text, ("prompt", "answer"), "grade", path)
    if not isinstance(grade.mark, str) or grade.mark.count(GRADE) != 1 or grade.mark == GRADE:
        raise UserError(f"{path}: grade.mark shows a grade between signs, as in '[[{GRADE}]]'; got {grade.mark!r}.")
    if not all(isinstance(end, int | float) for end in (grade.least, grade.most)) or grade.least >= grade.most:
        raise UserError(
            f"{path}: grade.least must be a number below grade.most; got {grade.least!r} and {grade.most!r}."
        )
    return grade


def _part(content: Mapping[str, Any], name: str, keys: tuple[str, ...], path: Path) -> dict[str, Any]:
    part = content.get(name)
    if not isinstance(part, Mapping) or set(part) != set(keys):
        raise UserError(f"{path}: {name} must have exactly {', '.join(keys)}; {DEFAULT} is an example.")
    texts = [key for key in keys if key not in ("least", "most") and not isinstance(part[key], str)]
    if texts:
        raise UserError(f"{path}: {name}.{texts[0]} must be a text in quotation marks; got {part[texts[0]]!r}.")
    return dict(part)


def _check_places(text: str, places: tuple[str, ...], part: str, path: Path) -> None:
    if missing := [place for place in places if f"{{{place}}}" not in text]:
        raise UserError(f"{path}: {part}.text has no place {{{missing[0]}}}, so the judge would not see it. Add it.")


def _fill(text: str, values: Mapping[str, str]) -> str:
    """Fills the places in one pass, so that braces inside an answer stay what they are."""
    return re.sub(r"\{(\w+)\}", lambda match: values.get(match[1], match[0]), text)


def _conclusion(reply: str) -> str:
    return reply.rpartition(THOUGHT_END)[2]
