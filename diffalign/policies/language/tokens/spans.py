"""Spans: which tokens of a response are learnt from, where it thinks before it answers.

    {end: </think>}                                    the answer alone: what follows the last end of a thought
    {start: <think>, end: </think>, hide: 0.2}         all but a fifth of the tokens within each thought, drawn by the
                                                       pair's id: the same ones at every visit

Markers are single tokens of the tokenizer. What is hidden is read by the model, and not scored: not under the policy,
not under the reference, in neither candidate.
Source: Buehler 2024 (arXiv 2410.12375), PRefLexOR.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

from diffalign.errors import ConfigError, near_miss
from diffalign.policies.language.tokens.token_pair import Response
from diffalign.policies.language.tokens.tokenizer_info import special_tokens


class SpanRule(BaseModel):
    """Which tokens of a response are scored.

    Args:
        end: The token that ends a thought.
        start: The token that begins one; needed where some of its tokens are hidden.
        hide: Share of the tokens within each thought that are not scored, (0, 1]; None: nothing before the last end is.
        include_marker: Of answers alone: whether the last end itself is scored, so that the model learns to stop
            thinking.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    end: str
    start: str | None = None
    hide: float | None = Field(default=None, gt=0, le=1)
    include_marker: bool = True

    @model_validator(mode="after")
    def _fits(self) -> SpanRule:
        if self.hide is not None and self.start is None:
            raise ValueError("score_spans.hide hides tokens between two markers; name the first: start: <think>")
        if self.hide is None and self.start is not None:
            raise ValueError(
                "score_spans scores what follows the last end, so it reads no start. Leave it out, or hide a share of "
                "what is between: hide: 1.0"
            )
        if self.hide is not None and "include_marker" in self.model_fields_set:
            raise ValueError("markers are scored where what is between is hidden; leave include_marker out")
        return self

    def describe(self) -> str:
        """A few words for a header."""
        if self.hide is not None:
            return f"{self.hide:.0%} of the tokens between {self.start} and {self.end} not scored"
        return f"scored from the last {self.end} on" if self.include_marker else f"scored behind the last {self.end}"


class Spans:
    """A rule with the tokens that its markers are.

    Args:
        rule: The rule.
        tokenizer: Of transformers.

    Raises:
        ConfigError: A marker is no token.
    """

    def __init__(self, rule: SpanRule, tokenizer: Any) -> None:
        self.rule = rule
        self._end = _marker(tokenizer, rule.end, "end")
        self._start = None if rule.start is None else _marker(tokenizer, rule.start, "start")

    def __call__(self, response: Response, key: str) -> Response:
        """The response with fewer tokens scored. ``key`` decides which ones are drawn."""
        if self.rule.hide is None:
            left = answer_only(response.ids, self._end, include=self.rule.include_marker)
        else:
            assert self._start is not None
            left = thinned(response.ids, self._start, self._end, self.rule.hide, random.Random(key))
        return replace(response, scored=tuple(a and b for a, b in zip(response.scored, left, strict=True)))


def answer_only(ids: Sequence[int], end: int, *, include: bool) -> list[bool]:
    """What follows the last ``end``, itself if ``include``; everything where there is none."""
    if end not in ids:
        return [True] * len(ids)
    last = len(ids) - 1 - list(ids)[::-1].index(end)
    return [k >= last + (not include) for k in range(len(ids))]


def thinned(ids: Sequence[int], start: int, end: int, share: float, rng: random.Random) -> list[bool]:
    """All but ``share`` of the tokens between each ``start`` and the next ``end``, rounded to a whole number of tokens;
    markers are kept, and so is a thought that does not end."""
    left, begin = [True] * len(ids), None
    for place, token in enumerate(ids):
        if token == start:
            begin = place
        elif token == end and begin is not None:
            inner = range(begin + 1, place)
            for hidden in rng.sample(inner, round(share * len(inner))):
                left[hidden] = False
            begin = None
    return left


def _marker(tokenizer: Any, text: str, which: str) -> int:
    known = tokenizer.get_vocab()
    if text in known:
        return int(known[text])
    special = special_tokens(tokenizer)
    raise ConfigError(
        f"model.score_spans.{which} is {text!r}, which is no token of the tokenizer.{near_miss(text, special)} A "
        "marker of several tokens cannot be told from what stands around it. Special tokens: "
        f"{', '.join(special) or 'none'}."
    )
