"""Parts of a prompt that stand in columns of their own: the system's turn, and the tools that answers may call.

A row with one of these columns becomes a conversation, whatever its form: a system's turn and tools are written by a
chat template, which differs from model to model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from diffalign.data.readers.column_use import SYSTEM, TOOLS, is_filled
from diffalign.data.readers.rows.parse_row import Drop
from diffalign.data.readers.rows.text_cells import SYSTEM as SYSTEM_ROLE
from diffalign.data.readers.rows.text_cells import USER
from diffalign.data.readers.rows.turns import parse_json, without_nulls
from diffalign.data.records.conversation import ASSISTANT, Conversation, Message, Text, to_json
from diffalign.data.records.pair import BAD_ROW, BAD_TURNS
from diffalign.errors import DataError


def add_prompt_parts(prompt: Text, answers: Sequence[Text], values: Mapping[str, Any]) -> tuple[Text, list[Text]]:
    """Returns the prompt with the system's turn and the tools of its row, and the answers in turns. A row without such
    columns is returned unchanged.

    Args:
        prompt: The prompt; ``""`` is one without turns.
        answers: Its answers.
        values: The row.
    """
    if not any(name in values for name in (*SYSTEM, *TOOLS)):
        return prompt, list(answers)
    if isinstance(prompt, str):
        prompt = Conversation((Message(USER, prompt),) if prompt.strip() else ())
    turns = [text if isinstance(text, Conversation) else Conversation((Message(ASSISTANT, text),)) for text in answers]
    tools = _read_tools(values)
    return replace(_with_system(prompt, values), tools_json=tools or prompt.tools_json), list(turns)


def _with_system(prompt: Conversation, values: Mapping[str, Any]) -> Conversation:
    cell = next((cell for cell in map(values.get, SYSTEM) if is_filled(cell)), None)
    if cell is None:
        return prompt
    if not isinstance(cell, str):
        raise Drop(BAD_ROW, f"the system's turn must be text; got {type(cell).__name__}")
    first = prompt.messages[0] if prompt.messages else None
    if first is None or first.role != SYSTEM_ROLE:
        return replace(prompt, messages=(Message(SYSTEM_ROLE, cell), *prompt.messages))
    if first.content.strip() != cell.strip():
        raise Drop(BAD_TURNS, "the prompt begins with a system's turn, and the row's system column holds another one")
    return prompt


def _read_tools(values: Mapping[str, Any]) -> str:
    cell = next((cell for cell in map(values.get, TOOLS) if is_filled(cell)), None)
    tools = without_nulls(parse_json(cell))
    if cell is None:
        return ""
    if not isinstance(tools, list) or not all(isinstance(tool, dict) for tool in tools):
        raise Drop(BAD_ROW, f"tools must be a list of objects, or one as JSON; got {str(cell)[:40]!r}")
    if not tools:
        return ""
    try:
        return to_json(tools)
    except DataError as error:
        raise Drop(BAD_ROW, str(error)) from error
