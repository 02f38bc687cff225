"""Chat templates: turns conversations into the text that a model was trained on, and locates the answers in it.

A template is rendered twice: the prompt with the opening of an answer, and the whole exchange. An answer is the text of
the whole exchange after the opening, up to and including the token that ends a turn.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from diffalign.data.records.conversation import ASSISTANT, Conversation, Message
from diffalign.errors import ConfigError, DataError
from diffalign.policies.language.tokens.exchange import AnswerText, Exchange
from diffalign.policies.language.tokens.template_fields import require_fields, unwritten_labels
from diffalign.policies.language.tokens.tokenizer_info import special_tokens

SYSTEM = ("system", "developer")
THOUGHT_END = "</think>"  # templates of reasoning models leave earlier thoughts out on purpose
# A fixed date for templates that print the current one: equal rows must be equal tokens tomorrow.
FIXED_DATE = {"%d": "26", "%b": "Jul", "%B": "July", "%Y": "2024", "%m": "07", "%y": "24", "%A": "Friday", "%a": "Fri"}
DATE_FILTERS = "".join(f"|replace('{code}', '{text}')" for code, text in FIXED_DATE.items())
DATE_MACRO = "{%- macro strftime_now(form) -%}{{ form" + DATE_FILTERS + " }}{%- endmacro %}"
PROBE = "zqxjw"


class ChatTemplate:
    """The chat template of a tokenizer, or a replacement for it.

    Args:
        tokenizer: A tokenizer of transformers.
        template: Jinja text, or a file that holds it. None: the tokenizer's own.
        system: A system turn for conversations that begin with none.
        end: The token that ends a turn. None: the token that the template writes after an answer, which is the
            tokenizer's end token if present, otherwise the first special token.

    Raises:
        ConfigError: The template file does not exist.
    """

    def __init__(
        self, tokenizer: Any, template: str | Path | None = None, system: str | None = None, end: str | None = None
    ):
        self.tokenizer = tokenizer
        self.from_tokenizer = template is None
        text = _read_template(template) or (tokenizer.get_chat_template() if tokenizer.chat_template else None)
        self.template = DATE_MACRO + text if text and "strftime_now" in text else text
        self.system = system
        self._end = end
        self.unwritten: set[str] = set()
        """Fields that label turns, such as ``name``, and that were left out of a text so far."""

    @property
    def available(self) -> bool:
        """Whether there is a template."""
        return bool(self.template)

    @cached_property
    def end(self) -> str | None:
        """The token that ends a turn, as text; None if the template writes none."""
        probe = Conversation((Message("user", "?"), Message(ASSISTANT, PROBE)))
        try:
            after = self.render(probe).rpartition(PROBE)[2]
        except DataError:
            return self._end
        expected = self._end or self.tokenizer.eos_token
        if expected and expected in after:
            return expected
        if self._end:
            return None
        return min((token for token in special_tokens(self.tokenizer) if token in after), key=after.index, default=None)

    @cached_property
    def _boundary_tokens(self) -> list[str]:
        """Special tokens of an opening at which tokenizers always split, whatever the text before them."""
        try:
            opening = self.render(Conversation((Message("user", "?"),)), opening=True)
        except DataError:
            return []
        in_opening = [token for token in self.tokenizer.added_tokens_decoder.values() if token.content in opening]
        return [t.content for t in in_opening if t.special and not (t.lstrip or t.single_word or t.normalized)]

    def with_system(self, prompt: Conversation) -> Conversation:
        """Returns the prompt, with the recipe's system turn in front if it has none."""
        if self.system is None or (prompt.messages and prompt.messages[0].role in SYSTEM):
            return prompt
        return replace(prompt, messages=(Message("system", self.system), *prompt.messages))

    def render_prompt(self, prompt: Conversation) -> str:
        """Returns the prompt with the opening of an answer: the text that the model continues.

        Raises:
            DataError: The template refuses a turn or leaves one out.
        """
        prompt = self.with_system(prompt)
        text = self.render(prompt, opening=True)
        for number, message in enumerate(prompt.messages):
            if THOUGHT_END not in message.content and message.content.strip() not in text:
                raise DataError(
                    f"the chat template leaves out turn {number} of {len(prompt)} (role '{message.role}': "
                    f"{message.content[:40]!r}). Give a template that writes it: --set model.chat_template=FILE.jinja"
                )
        render = partial(self.render, opening=True)
        require_fields(render, prompt, text)
        self.unwritten |= unwritten_labels(render, prompt, text)
        return text

    def render_exchange(self, prompt: Conversation, answers: Sequence[Conversation]) -> Exchange:
        """Returns prompt and answers as text.

        If the template opens an answer differently from how it writes one (``<think>`` only in the opening), the prompt
        ends where the two differ.

        Raises:
            DataError: The template refuses, leaves out or rewrites a turn; an answer is empty or does not begin with
                the assistant.
        """
        opened = self.render_prompt(prompt)
        prompt = self.with_system(prompt)
        rendered = [self._render_answer(prompt, answer, opened) for answer in answers]
        shared = min(_common_length(opened, answer.text) for answer in rendered)
        if shared < len(opened):
            last = prompt.messages[-1].content.strip()
            if last and shared < self.render(prompt).rfind(last) + len(last):
                raise DataError(
                    "the chat template writes the prompt differently once it is answered (it drops or rewrites turns), "
                    "so prompt and response cannot be separated. Give another: --set model.chat_template=FILE.jinja"
                )
        return Exchange(
            opened[:shared],
            tuple(replace(a, spans=((shared, a.spans[0][1]), *a.spans[1:])) for a in rendered),
            template_diverged=shared < len(opened),
            stable_prefix=max(0, *(opened.rfind(token, 0, shared) for token in self._boundary_tokens)),
        )

    def _render_answer(self, prompt: Conversation, answer: Conversation, opened: str) -> AnswerText:
        if not answer.messages or answer.messages[0].role != ASSISTANT or answer.messages[-1].role != ASSISTANT:
            roles = ", ".join(message.role for message in answer.messages) or "no turn"
            raise DataError(f"an answer must begin and end with a turn of the assistant; got {roles}")
        whole = self.render(prompt + answer)
        require_fields(self.render, prompt + answer, whole, first=len(prompt))
        self.unwritten |= unwritten_labels(self.render, prompt + answer, whole)
        spans: list[tuple[int, int]] = []
        for number, message in enumerate(answer.messages):
            if message.role != ASSISTANT:
                continue
            if message.is_empty:
                raise DataError("the response is empty")
            if number:
                opened = self.render(prompt + replace(answer, messages=answer.messages[:number]), opening=True)
            start = _common_length(opened, whole)
            content = message.content.strip()
            position = whole.find(content, start)
            if position < 0 and THOUGHT_END not in content:
                raise DataError(f"the chat template leaves out the assistant's turn {content[:40]!r}")
            after = max(position, start) + (len(content) if position >= 0 else 0)
            stop = whole.find(self.end, after) if self.end else -1
            if message.fields_json and stop < 0:  # calls of tools follow the content
                turn = self.render(prompt + replace(answer, messages=answer.messages[: number + 1]))
                after = max(after, _common_length(turn, whole))
            spans.append((start, stop + len(self.end) if self.end and stop >= 0 else after))
        return AnswerText(whole[: spans[-1][1]], tuple(spans))

    def render(self, turns: Conversation, opening: bool = False) -> str:
        """Returns the template's text, with the opening of an answer if ``opening``.

        Raises:
            ConfigError: There is no template.
            DataError: The template refuses the turns.
        """
        from jinja2 import TemplateError

        if not self.available:
            raise ConfigError(
                "a row is a conversation, but the tokenizer has no chat template to write it with. Give one: "
                "--set model.chat_template=FILE.jinja, or give plain prompts and responses"
            )
        if not turns.messages:
            raise DataError("the prompt has no turns")
        try:
            return self.tokenizer.apply_chat_template(
                turns.rows(),
                chat_template=self.template,
                tokenize=False,
                add_generation_prompt=opening,
                **({"tools": turns.tools} if turns.tools_json else {}),
            )
        except (TemplateError, TypeError) as error:
            roles = [message.role for message in turns.messages]
            advice = "Give another template: --set model.chat_template=FILE.jinja"
            if "system" in str(error).lower() and any(role in SYSTEM for role in roles):
                advice = f"Put its text into the first user turn{', or leave model.system out' if self.system else ''}"
            raise DataError(f"the chat template refuses the turns {', '.join(roles)}: {error}. {advice}") from error


def _read_template(template: str | Path | None) -> str | None:
    """Returns Jinja text as it is, or the content of a template file."""
    if template is None:
        return None
    if isinstance(template, str) and ("{" in template or "\n" in template):
        return template
    path = Path(template).expanduser()
    if not path.is_file():
        raise ConfigError(f"model.chat_template is '{template}', which is neither a Jinja template nor a file")
    return path.read_text(encoding="utf-8")


def _common_length(first: str, second: str) -> int:
    """Returns the length of the common prefix of two texts."""
    return len(first) if second.startswith(first) else len(os.path.commonprefix([first, second]))
