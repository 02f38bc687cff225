"""A prompt and its answers as text, before they become tokens."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class AnswerText:
    """A prompt with one answer, up to the end of the answer.

    Args:
        text: Prompt and answer.
        spans: Character ranges ``(start, end)`` in ``text`` that the model itself writes.
    """

    text: str
    spans: tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Exchange:
    """A prompt and its answers.

    Args:
        prompt: The text that every ``answers[i].text`` begins with.
        answers: Each with the prompt before it.
        template_diverged: Whether the chat template opens an answer differently from how it writes one.
        stable_prefix: Number of characters whose tokens do not depend on the text after them. They are tokenised once
            for all answers.
    """

    prompt: str
    answers: tuple[AnswerText, ...]
    template_diverged: bool = False
    stable_prefix: int = 0
