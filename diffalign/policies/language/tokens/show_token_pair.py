"""Renders a pair as the network reads it, for people to check before training."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import groupby

from diffalign.data.records.pair import Pair
from diffalign.policies.answer_roles import own_prompt_answers
from diffalign.policies.language.tokens.tokenize import PairTokenizer

MAX_CHARACTERS = 800
"""Number of characters of a text that are shown."""


def render_pair(pair_tokenizer: PairTokenizer, pair: Pair) -> str:
    """Returns prompt and candidates as decoded tokens, with scored ones between ``[[`` and ``]]``.

    An answer with a prompt of its own is followed by that prompt.
    """
    decode = pair_tokenizer.decode
    token_pair = pair_tokenizer.token_pair(pair)
    roles = [role for role, answer in pair.answers.items() if answer.prompt is None]
    lines = [f"{pair.source or pair.id}", f"  prompt    {_render(decode, token_pair.prompt)}"]
    for role, response in zip(roles if len(pair.answers) > 1 else ["response"], token_pair.responses, strict=True):
        shown = (
            f"(sampled in its round, at most {len(response.ids)} tokens)"
            if response.to_sample
            else _render(decode, response.ids, response.scored)
        )
        lines.append(f"  {role:<9} {shown}")
    for role, single in own_prompt_answers(pair).items():
        own_prompt_pair = pair_tokenizer.token_pair(single)
        response = own_prompt_pair.responses[0]
        lines.append(f"  {role:<9} {_render(decode, response.ids, response.scored)}")
        lines.append(f"    to      {_render(decode, own_prompt_pair.prompt)}")
    return "\n".join(lines)


def _render(decode: Callable[[Iterable[int]], str], ids: Sequence[int], scored: Sequence[bool] | None = None) -> str:
    if scored is None:
        return f"{_shorten(decode(ids))} ({len(ids)} tokens)"
    runs = groupby(zip(ids, scored, strict=True), key=lambda item: item[1])
    parts = [(is_scored, decode([token for token, _ in run])) for is_scored, run in runs]
    text = "".join(f"[[{part}]]" if is_scored else part for is_scored, part in parts)
    return f"{_shorten(text)} ({sum(scored)} of {len(ids)} tokens scored)"


def _shorten(text: str) -> str:
    """Returns a text for a terminal, with escaped line breaks and without the middle of a long one."""
    half = MAX_CHARACTERS // 2
    return repr(text if len(text) <= MAX_CHARACTERS else f"{text[:half]} ... {text[-half:]}")
