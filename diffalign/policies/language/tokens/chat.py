"""Chat templates: conversations become the text that a model was taught to read, and that text shows whose words are
whose.

A template is rendered twice: the prompt with the opening of an answer, and the whole exchange. An answer is what stands
in the whole after the opening, up to and including the token that ends a turn.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from diffalign.data.records.conversation import ASSISTANT, Conversation, Message
from diffalign.errors import ConfigError, DataError
from diffalign.policies.language.tokens.tokenizer_info import special_tokens

SYSTEM = ("system", "developer")
THOUGHT = "</think>"  # templates of reasoning models leave earlier thoughts out, on purpose
# What templates that ask for the date are told: equal rows must be equal tokens tomorrow.
TODAY = {"%d": "26", "%b": "Jul", "%B": "July", "%Y": "2024", "%m": "07", "%y": "24", "%A": "Friday", "%a": "Fri"}
TOLD = "".join(f"|replace('{code}', '{text}')" for code, text in TODAY.items())
DATED = "{%- macro strftime_now(form) -%}{{ form" + TOLD + " }}{%- endmacro %}"
PROBE = "zqxjw"


@dataclass(frozen=True)
class Written:
    """An exchange as text, up to the end of its last answer.

    Args:
        text: Prompt and answer.
        spans: Where in it the model's own words stand, ``(start, end)`` in characters.
    """

    text: str
    spans: tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Exchange:
    """A prompt and its answers as text.

    Args:
        prompt: What every ``answers[i].text`` begins with.
        answers: Each with the prompt before it.
        diverged: The template opens an answer otherwise than it writes one.
        seam: Up to this character the text has the tokens that it has alone, whatever follows: long prompts need not
            be tokenised once more for each answer.
    """

    prompt: str
    answers: tuple[Written, ...]
    diverged: bool = False
    seam: int = 0


class Chat:
    """The chat template of a tokenizer, or another in its place.

    Args:
        tokenizer: Of transformers.
        template: Jinja text, or a file that holds it. None: the tokenizer's own.
        system: A system turn for conversations that begin with none.
        end: The token that ends a turn. None: what the template writes after an answer: the tokenizer's end token if
            that is there, else the first special token.

    Raises:
        ConfigError: for a template file that is not there.
    """

    def __init__(
        self, tokenizer: Any, template: str | Path | None = None, system: str | None = None, end: str | None = None
    ):
        self.tokenizer = tokenizer
        self.own = template is None
        text = _read(template) or (tokenizer.get_chat_template() if tokenizer.chat_template else None)
        self.template = DATED + text if text and "strftime_now" in text else text
        self.system = system
        self._end = end

    @property
    def available(self) -> bool:
        """Whether there is a template."""
        return bool(self.template)

    @cached_property
    def end(self) -> str | None:
        """The token that ends a turn, as text; None where the template writes none."""
        probe = Conversation((Message("user", "?"), Message(ASSISTANT, PROBE)))
        try:
            after = self.render(probe).rpartition(PROBE)[2]
        except DataError:
            return self._end
        own = self._end or self.tokenizer.eos_token
        if own and own in after:
            return own
        if self._end:
            return None
        return min((one for one in special_tokens(self.tokenizer) if one in after), key=after.index, default=None)

    @cached_property
    def _borders(self) -> list[str]:
        """Special tokens of an opening that take nothing from the text before them: tokenizers cut there first."""
        try:
            opening = self.render(Conversation((Message("user", "?"),)), opening=True)
        except DataError:
            return []
        found = [token for token in self.tokenizer.added_tokens_decoder.values() if token.content in opening]
        return [t.content for t in found if t.special and not (t.lstrip or t.single_word or t.normalized)]

    def with_system(self, prompt: Conversation) -> Conversation:
        """The prompt, begun with the system turn of the recipe where it has none."""
        if self.system is None or (prompt.messages and prompt.messages[0].role in SYSTEM):
            return prompt
        return Conversation((Message("system", self.system), *prompt.messages))

    def opened(self, prompt: Conversation) -> str:
        """The prompt with the opening of an answer: what the model is given to continue.

        Raises:
            DataError: for turns that the template refuses or leaves out.
        """
        prompt = self.with_system(prompt)
        text = self.render(prompt, opening=True)
        for number, message in enumerate(prompt.messages):
            if THOUGHT not in message.content and message.content.strip() not in text:
                raise DataError(
                    f"the chat template leaves out turn {number} of {len(prompt)} (role '{message.role}': "
                    f"{message.content[:40]!r}). Give a template that writes it: --set model.chat_template=FILE.jinja"
                )
        return text

    def exchange(self, prompt: Conversation, answers: Sequence[Conversation]) -> Exchange:
        """Prompt and answers as text.

        Where the template opens an answer otherwise than it writes one (``<think>`` in the opening alone), the prompt
        ends where the two differ.

        Raises:
            DataError: for turns that the template refuses, leaves out or rewrites; for an answer that is empty or does
                not begin with the assistant.
        """
        opened = self.opened(prompt)
        prompt = self.with_system(prompt)
        written = [self._written(prompt, answer, opened) for answer in answers]
        shared = min(_shared(opened, one.text) for one in written)
        if shared < len(opened):
            last = prompt.messages[-1].content.strip()
            if last and shared < self.render(prompt).rfind(last) + len(last):
                raise DataError(
                    "the chat template writes the prompt otherwise once it is answered (it drops or rewrites turns), "
                    "so prompt and response cannot be told apart. Give another: --set model.chat_template=FILE.jinja"
                )
        return Exchange(
            opened[:shared],
            tuple(replace(one, spans=((shared, one.spans[0][1]), *one.spans[1:])) for one in written),
            diverged=shared < len(opened),
            seam=max(0, *(opened.rfind(token, 0, shared) for token in self._borders)),
        )

    def _written(self, prompt: Conversation, answer: Conversation, opened: str) -> Written:
        if not answer.messages or answer.messages[0].role != ASSISTANT or answer.messages[-1].role != ASSISTANT:
            roles = ", ".join(message.role for message in answer.messages) or "no turn"
            raise DataError(f"an answer must begin and end with a turn of the assistant; got {roles}")
        whole = self.render(prompt + answer)
        spans: list[tuple[int, int]] = []
        for number, message in enumerate(answer.messages):
            if message.role != ASSISTANT:
                continue
            if not message.content.strip():
                raise DataError("the response is empty")
            if number:
                opened = self.render(prompt + Conversation(answer.messages[:number]), opening=True)
            start = _shared(opened, whole)
            words = message.content.strip()
            found = whole.find(words, start)
            if found < 0 and THOUGHT not in words:
                raise DataError(f"the chat template leaves out the assistant's turn {words[:40]!r}")
            after = max(found, start) + (len(words) if found >= 0 else 0)
            stop = whole.find(self.end, after) if self.end else -1
            spans.append((start, stop + len(self.end) if self.end and stop >= 0 else after))
        return Written(whole[: spans[-1][1]], tuple(spans))

    def render(self, turns: Conversation, opening: bool = False) -> str:
        """The template's text. Raises ConfigError where there is none, DataError where it refuses the turns."""
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
            )
        except (TemplateError, TypeError) as error:
            roles = [message.role for message in turns.messages]
            advice = "Give another template: --set model.chat_template=FILE.jinja"
            if "system" in str(error).lower() and any(role in SYSTEM for role in roles):
                advice = f"Put its text into the first user turn{', or leave model.system out' if self.system else ''}"
            raise DataError(f"the chat template refuses the turns {', '.join(roles)}: {error}. {advice}") from error


def _read(template: str | Path | None) -> str | None:
    """A template's text: itself where it is one, else of the file that it names."""
    if template is None or (isinstance(template, str) and ("{" in template or "\n" in template)):
        return template  # type: ignore[return-value]
    path = Path(template).expanduser()
    if not path.is_file():
        raise ConfigError(f"model.chat_template is '{template}', which is neither a Jinja template nor a file")
    return path.read_text(encoding="utf-8")


def _shared(first: str, second: str) -> int:
    """How many characters two texts begin alike with."""
    return len(first) if second.startswith(first) else len(os.path.commonprefix([first, second]))
