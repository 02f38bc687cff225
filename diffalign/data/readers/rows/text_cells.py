"""Parses cells that hold a prompt or an answer, plain or in turns, and checks that they can be trained on.

An answer in turns begins and ends with an assistant's turn; a prompt ends before one. Where the answers' cells hold
whole conversations, the prompt is removed from them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from diffalign.data.readers.rows.parse_row import Drop, content_parts, digest, only_text
from diffalign.data.readers.rows.turns import is_unparsed
from diffalign.data.records.conversation import ASSISTANT, Conversation, Message, Text
from diffalign.data.records.pair import BAD_ROW, BAD_TURNS, EMPTY_CANDIDATE, EMPTY_PROMPT, IDENTICAL
from diffalign.errors import DataError

USER, SYSTEM = "user", "system"


def read_text(cell: Any, column: str) -> Text:
    """Parses a cell into a text, of a row with its turns in one form (`turns`); an absent cell gives ``""``. Drops the
    row for malformed messages.
    """
    if cell is None:
        return ""
    if isinstance(cell, list) and not (cell and all(isinstance(item, str) for item in cell)):
        try:
            return Conversation.of(cell)
        except DataError as error:
            raise Drop(BAD_TURNS, f"{column}: {error}") from error
    if isinstance(cell, dict):
        raise Drop(BAD_ROW, f"{column} must be text or a list of messages; got {type(cell).__name__}")
    text = only_text(cell, column)
    if is_unparsed(text):
        raise Drop(BAD_TURNS, f"{column} holds turns written as text, which is neither JSON nor a Python list")
    return text


def align_forms(prompt: Text, answers: Sequence[Text]) -> tuple[Text, list[Text]]:
    """Brings prompt and answers into one form, all plain or all in turns, and removes the prompt from the answers.
    Drops a row for which this is impossible.

    Args:
        prompt: The content of its column; ``""`` without one.
        answers: One or more. In turns they may be whole conversations. Then the turns that all share are the prompt
            (for a single answer, all turns but its last), even where the prompt's own column differs, as in TRL.
    """
    if isinstance(prompt, str) and all(isinstance(answer, str) for answer in answers):
        return prompt, list(answers)
    turns = [Conversation((Message(ASSISTANT, a),)) if isinstance(a, str) else a for a in answers]
    if isinstance(prompt, Conversation):
        size = len(prompt)
        if size and all(answer.messages[:size] == prompt.messages for answer in turns):
            return prompt, [Conversation(answer.messages[size:]) for answer in turns]
        return prompt, list(turns)
    if any(isinstance(answer, str) for answer in answers):
        raise Drop(BAD_TURNS, "one answer is plain text and the other is in turns")
    if any(not len(answer) for answer in turns):
        raise Drop(EMPTY_CANDIDATE, "an answer without turns")
    if all(answer.messages[0].role == ASSISTANT for answer in turns):
        return Conversation((Message(USER, prompt),) if prompt.strip() else ()), list(turns)
    return split_shared_turns(turns)


def split_shared_turns(turns: Sequence[Conversation]) -> tuple[Conversation, list[Text]]:
    """Splits conversations into the turns that they share and the rest of each; a single one before its last turn.

    Where one of them ends with a turn of the assistant that another one goes on from, that turn belongs to the answers.
    """
    shared = count_shared_turns([answer.messages for answer in turns]) if len(turns) > 1 else len(turns[0]) - 1
    if len(turns) > 1 and turns[0] == turns[1]:
        raise Drop(IDENTICAL)
    if shared and shared == min(map(len, turns)) and turns[0].messages[shared - 1].role == ASSISTANT:
        shared -= 1
    return Conversation(turns[0].messages[:shared]), [Conversation(answer.messages[shared:]) for answer in turns]


def count_shared_turns(sides: Sequence[Sequence[Any]]) -> int:
    """Returns how many of the first turns are equal on all sides."""
    return next((n for n, turns in enumerate(zip(*sides, strict=False)) if len(set(turns)) > 1), min(map(len, sides)))


def check_prompt(prompt: Text) -> None:
    """Drops the row when the prompt is empty or ends with the assistant's turn."""
    if not isinstance(prompt, Conversation):
        if not prompt.strip():
            raise Drop(EMPTY_PROMPT)
        return
    if not any(turn.role != SYSTEM and turn.content.strip() for turn in prompt.messages):
        raise Drop(EMPTY_PROMPT, "only the system's turn" if len(prompt) else "")
    if prompt.messages[-1].role == ASSISTANT:
        raise Drop(BAD_TURNS, "the prompt ends with the assistant's turn, which the answer would repeat")


def check_answer(answer: Text, column: str) -> None:
    """Drops the row when the answer is empty, or when its turns do not begin and end with the assistant's."""
    if not isinstance(answer, Conversation):
        if not answer.strip():
            raise Drop(EMPTY_CANDIDATE, column)
        return
    if not len(answer):
        raise Drop(EMPTY_CANDIDATE, f"{column} has no turn of its own")
    for index, position in ((0, "first"), (-1, "last")):
        role = answer.messages[index].role
        if role != ASSISTANT:
            raise Drop(BAD_TURNS, f"the {position} turn of {column} is the {role}'s; the assistant's was expected")
    for number, turn in enumerate(answer.messages):
        if turn.role == ASSISTANT and turn.is_empty:
            raise Drop(EMPTY_CANDIDATE, f"{column}: turn {number} is empty")


def check_texts(prompt: Text, answers: Sequence[Text], columns: Sequence[str]) -> str:
    """Returns an id computed from the content. Drops the row for a prompt or answers that cannot be trained on."""
    check_prompt(prompt)
    for answer, column in zip(answers, columns, strict=True):
        check_answer(answer, column)
    if len(answers) > 1 and answers[0] == answers[1]:
        raise Drop(IDENTICAL)
    return digest(*(part for text in (prompt, *answers) for part in content_parts(text)))
