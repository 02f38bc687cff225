"""Conversations: the prompts and answers of a chat model, as messages with roles."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from diffalign.errors import DataError

ASSISTANT = "assistant"
THOUGHTS = ("reasoning_content", "reasoning", "thinking")
FIELDS = ("tool_calls", "tool_call_id", "name", *THOUGHTS)
"""Fields of a message besides its role and content. They are kept and given to the chat template."""


@dataclass(frozen=True)
class Message:
    """One turn.

    Args:
        role: ``"system"``, ``"user"``, ``"assistant"``, or another role of the model's chat template.
        content: Its text.
        fields_json: The other :data:`FIELDS` of the message as a JSON object; "" without any. See :attr:`fields`.
    """

    role: str
    content: str
    fields_json: str = ""

    @property
    def fields(self) -> dict[str, Any]:
        """The fields besides role and content, by name."""
        return json.loads(self.fields_json) if self.fields_json else {}

    @property
    def is_empty(self) -> bool:
        """Whether the message says nothing: neither text nor a call of a tool."""
        return not self.content.strip() and "tool_calls" not in self.fields


@dataclass(frozen=True)
class Conversation:
    """Turns in order.

    A prompt holds the turns up to the one to be answered. A candidate holds the answer; it may contain turns of other
    roles, of which only the assistant's are scored. ``str()`` gives ``"role: content"`` lines, for messages and hashes.

    Args:
        messages: The turns.
        tools_json: The tools that the assistant may call, as a JSON list; "" without any. See :attr:`tools`.
    """

    messages: tuple[Message, ...]
    tools_json: str = ""

    @classmethod
    def of(cls, rows: Iterable[Mapping[str, Any]], tools: Sequence[Any] = ()) -> Conversation:
        """Builds a conversation from ``[{"role": ..., "content": ...}]``. A turn may have the further :data:`FIELDS`.

        Raises:
            DataError: A turn lacks a role or a content, or its content is not text.
        """
        messages = []
        for number, row in enumerate(rows):
            role, content = (row.get(key) if isinstance(row, Mapping) else None for key in ("role", "content"))
            if not isinstance(role, str) or not isinstance(content, str):
                raise DataError(
                    f"turn {number} of a conversation must be {{'role': text, 'content': text}}; got {str(row)[:80]}"
                )
            fields = {name: row[name] for name in FIELDS if row.get(name) not in (None, "", [])}
            messages.append(Message(role, content, to_json(fields) if fields else ""))
        return cls(tuple(messages), to_json(tools) if tools else "")

    @property
    def tools(self) -> list[Any]:
        """The tools that the assistant may call, as they were given."""
        return json.loads(self.tools_json) if self.tools_json else []

    def rows(self) -> list[dict[str, Any]]:
        """Returns the turns as chat templates and published data sets write them: a list of dictionaries."""
        return [{"role": message.role, "content": message.content, **message.fields} for message in self.messages]

    def __add__(self, other: Conversation) -> Conversation:
        return Conversation(self.messages + other.messages, self.tools_json or other.tools_json)

    def __len__(self) -> int:
        return len(self.messages)

    def __str__(self) -> str:
        lines = [f"tools: {self.tools_json}"] if self.tools_json else []
        for message in self.messages:
            lines.append(" ".join(part for part in (f"{message.role}: {message.content}", message.fields_json) if part))
        return "\n".join(lines)


def to_json(value: Any) -> str:
    """Returns a value of a cell as JSON that stays readable.

    Raises:
        DataError: The value is not plain data.
    """
    try:
        return json.dumps(value, ensure_ascii=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise DataError(f"tools and calls of tools must be plain data, as JSON holds it: {error}") from error


Text = str | Conversation
"""A prompt or a text candidate: a plain string, or turns."""


def plain_text(prompt: Text) -> str:
    """Returns the prompt for a model that takes plain text only. Raises DataError for a conversation."""
    if isinstance(prompt, str):
        return prompt
    raise DataError(
        f"this model takes plain prompts, but one is a conversation of {len(prompt)} turns: {str(prompt)[:80]!r}. "
        "Give its text only, or train a language model (model.kind: text)."
    )
