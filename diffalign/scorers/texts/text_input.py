"""Converts the texts that scorers receive to a plain answer, or to the turns of a chat."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from diffalign.data.records.conversation import ASSISTANT, Conversation, Message
from diffalign.errors import DataError, UserError


def as_answer(text: Any) -> str:
    """Returns the model's text in a candidate.

    Args:
        text: A string; a conversation, of which the assistant's turns are joined by line breaks; or the path of a text
            file.

    Raises:
        DataError: The file is missing or is no text.
        UserError: The argument is no text.
    """
    if isinstance(text, str):
        return text
    if isinstance(text, Conversation):
        return "\n".join(message.content for message in text.messages if message.role == ASSISTANT)
    if isinstance(text, Path):
        try:
            return text.read_bytes().decode("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise DataError(f"{text} cannot be read as a text ({error}). Expected a file in UTF-8.") from error
    raise UserError(f"A text must be a string, a conversation or the path of a text file; got {type(text).__name__}.")


def as_chat(prompt: Any, answer: Any) -> list[dict[str, Any]]:
    """Returns prompt and answer as turns of one chat; a plain prompt is the user's turn, a plain answer the
    assistant's.
    """
    if not isinstance(prompt, Conversation):
        prompt = Conversation((Message("user", as_answer(prompt)),))
    if not isinstance(answer, Conversation):
        answer = Conversation((Message(ASSISTANT, as_answer(answer)),))
    return (prompt + answer).rows()
