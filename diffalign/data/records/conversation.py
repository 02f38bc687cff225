"""Conversations: what a chat model is asked and answers, as messages with roles."""

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
        role: ``"system"``, ``"user"``, ``"assistant"``, or another that the model's template knows.
        content: Its text.
    """

    role: str
    content: str


@dataclass(frozen=True)
class Conversation:
    """Turns in order: as a prompt up to the turn that is to be answered, as a candidate the answer (perhaps with more
    turns between, of which the assistant's are judged).

    ``str()`` gives ``"role: content"`` lines, for people and for hashes.
    """

    messages: tuple[Message, ...]

    @classmethod
    def of(cls, rows: Iterable[Mapping[str, Any]]) -> Conversation:
        """From ``[{"role": ..., "content": ...}]``. Raises DataError for a turn without the two, or with other parts
        than text."""
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
        """As chat templates and the ecosystem's data sets write it."""
        return [{"role": message.role, "content": message.content} for message in self.messages]

    def __add__(self, other: Conversation) -> Conversation:
        return Conversation(self.messages + other.messages)

    def __len__(self) -> int:
        return len(self.messages)

    def __str__(self) -> str:
        return "\n".join(f"{message.role}: {message.content}" for message in self.messages)


Text = str | Conversation
"""A prompt or a text candidate: plain, or in turns."""


def plain_text(prompt: Text) -> str:
    """The prompt of a model that takes plain text only. Raises DataError for a conversation."""
    if isinstance(prompt, str):
        return prompt
    raise DataError(
        f"this model takes plain prompts, but one is a conversation of {len(prompt)} turns: {str(prompt)[:80]!r}. "
        "Give its text alone, or train a language model (model.kind: text)."
    )
