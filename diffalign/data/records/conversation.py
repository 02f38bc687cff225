"""Conversations: the prompts and answers of a chat model, as messages with roles."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from diffalign.errors import DataError

ASSISTANT = "assistant"


@dataclass(frozen=True)
class Message:
    """One turn.

    Args:
        role: ``"system"``, ``"user"``, ``"assistant"``, or another role of the model's chat template.
        content: Its text.
    """

    role: str
    content: str


@dataclass(frozen=True)
class Conversation:
    """Turns in order.

    A prompt holds the turns up to the one to be answered. A candidate holds the answer; it may contain turns of other
    roles, of which only the assistant's are scored. ``str()`` gives ``"role: content"`` lines, for messages and hashes.
    """

    messages: tuple[Message, ...]

    @classmethod
    def of(cls, rows: Iterable[Mapping[str, Any]]) -> Conversation:
        """Builds a conversation from ``[{"role": ..., "content": ...}]``.

        Raises:
            DataError: A turn lacks one of the two, or its content is not text.
        """
        messages = []
        for number, row in enumerate(rows):
            role, content = (row.get(key) if isinstance(row, Mapping) else None for key in ("role", "content"))
            if not isinstance(role, str) or not isinstance(content, str):
                raise DataError(
                    f"turn {number} of a conversation must be {{'role': text, 'content': text}}; got {str(row)[:80]}"
                )
            messages.append(Message(role, content))
        return cls(tuple(messages))

    def rows(self) -> list[dict[str, str]]:
        """Returns the turns as chat templates and published data sets write them: a list of dictionaries."""
        return [{"role": message.role, "content": message.content} for message in self.messages]

    def __add__(self, other: Conversation) -> Conversation:
        return Conversation(self.messages + other.messages)

    def __len__(self) -> int:
        return len(self.messages)

    def __str__(self) -> str:
        return "\n".join(f"{message.role}: {message.content}" for message in self.messages)


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
