"""Scored spans: which tokens of a response count if the model thinks before it answers.

    {end: </think>}                                    only the answer: the tokens after the last end of a thought
    {start: <think>, end: </think>, hide: 0.2}         all but a fifth of the tokens within each thought, drawn by the
                                                       pair's id and so the same at every visit

Markers are single tokens of the tokenizer. The model reads hidden tokens, but they are not scored: not under the
policy, not under the reference, and in neither candidate.

Source: Buehler 2024 (arXiv 2410.12375), PRefLexOR.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from diffalign.errors import ConfigError, near_miss
from diffalign.policies.language.config import SpanConfig
from diffalign.policies.language.tokens.token_pair import Response
from diffalign.policies.language.tokens.tokenizer_info import special_tokens


class SpanFilter:
    """Restricts the scored tokens of responses.

    Args:
        config: The rule.
        tokenizer: A tokenizer of transformers.

    Raises:
        ConfigError: A marker is not a single token.
    """

    def __init__(self, config: SpanConfig, tokenizer: Any) -> None:
        self.config = config
        self._end = _marker_id(tokenizer, config.end, "end")
        self._start = None if config.start is None else _marker_id(tokenizer, config.start, "start")

    def __call__(self, response: Response, key: str) -> Response:
        """Returns the response with fewer scored tokens. ``key`` seeds the draw of hidden ones."""
        if self.config.hide is None:
            visible = after_last(response.ids, self._end, include=self.config.include_marker)
        else:
            assert self._start is not None
            visible = hide_share(response.ids, self._start, self._end, self.config.hide, random.Random(key))
        return replace(response, scored=tuple(a and b for a, b in zip(response.scored, visible, strict=True)))


def after_last(ids: Sequence[int], end: int, *, include: bool) -> list[bool]:
    """Marks the tokens after the last ``end``, and this one if ``include``; all tokens if there is no ``end``."""
    if end not in ids:
        return [True] * len(ids)
    last = len(ids) - 1 - list(ids)[::-1].index(end)
    return [k >= last + (not include) for k in range(len(ids))]


def hide_share(ids: Sequence[int], start: int, end: int, share: float, rng: random.Random) -> list[bool]:
    """Marks all but ``share`` of the tokens between each ``start`` and the next ``end``, rounded to whole tokens.

    Markers stay marked, and so does a thought without an end.
    """
    visible, begin = [True] * len(ids), None
    for position, token in enumerate(ids):
        if token == start:
            begin = position
        elif token == end and begin is not None:
            inner = range(begin + 1, position)
            for hidden in rng.sample(inner, round(share * len(inner))):
                visible[hidden] = False
            begin = None
    return visible


def _marker_id(tokenizer: Any, text: str, field: str) -> int:
    vocabulary = tokenizer.get_vocab()
    if text in vocabulary:
        return int(vocabulary[text])
    special = special_tokens(tokenizer)
    raise ConfigError(
        f"model.score_spans.{field} is {text!r}, which is no token of the tokenizer.{near_miss(text, special)} A "
        "marker of several tokens cannot be found reliably, because it may merge with its neighbours. Special tokens: "
        f"{', '.join(special) or 'none'}."
    )
