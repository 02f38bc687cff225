"""Showing: a pair as the network will read it, for people, before anything is trained."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import groupby

from diffalign.data.records.pair import Pair
from diffalign.policies.answer_roles import own_prompt_answers
from diffalign.policies.language.tokens.tokenize import Tokens

LONGEST = 800
"""Characters of a text that are shown."""


def shown(tokens: Tokens, pair: Pair) -> str:
    """Prompt and candidates as decoded tokens, what is scored between ``[[`` and ``]]``; a prompt of its own under the
    answer that has one."""
    question = tokens.question(pair)
    names = [role for role, answer in pair.answers.items() if answer.prompt is None]
    lines = [f"{pair.source or pair.id}", f"  prompt    {_spelled(tokens.spell, question.prompt)}"]
    for name, response in zip(names if len(pair.answers) > 1 else ["response"], question.responses, strict=True):
        lines.append(f"  {name:<9} {_spelled(tokens.spell, response.ids, response.scored)}")
    for name, aside in own_prompt_answers(pair).items():
        other = tokens.question(aside)
        response = other.responses[0]
        lines.append(f"  {name:<9} {_spelled(tokens.spell, response.ids, response.scored)}")
        lines.append(f"    to      {_spelled(tokens.spell, other.prompt)}")
    return "\n".join(lines)


def _spelled(spell: Callable[[Iterable[int]], str], ids: Sequence[int], scored: Sequence[bool] | None = None) -> str:
    if scored is None:
        return f"{_short(spell(ids))} ({len(ids)} tokens)"
    runs = groupby(zip(ids, scored, strict=True), key=lambda item: item[1])
    parts = [(mine, spell([token for token, _ in run])) for mine, run in runs]
    text = "".join(f"[[{part}]]" if mine else part for mine, part in parts)
    return f"{_short(text)} ({sum(scored)} of {len(ids)} tokens scored)"


def _short(text: str) -> str:
    """A text for a terminal: its line breaks written out, the middle of a long one left out."""
    short = text if len(text) <= LONGEST else f"{text[: LONGEST // 2]} ... {text[-LONGEST // 2 :]}"
    return repr(short)
