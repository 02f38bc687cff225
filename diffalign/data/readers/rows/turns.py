"""Brings turns into one form, however a table stores them: a list of ``{"role", "content"}`` with further fields.

    [{"role": "user", "content": "Hi"}]                   as chat templates take them
    [{"from": "human", "value": "Hi"}]                    ShareGPT
    {"role": "assistant", "content": "Hello"}             a single turn
    {"role": ["user"], "content": ["Hi"]}                 lists of their parts, as Arrow may store them
    "[{'role': 'user', 'content': 'Hi'}]"                 written as JSON or Python, as CSV files hold them

A content of several text parts is joined. Calls of tools get their arguments as an object. Fields of a message that no
chat template takes, and parts that are not text, are noted and left out.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Callable, Mapping
from typing import Any

from diffalign.data.records.conversation import ASSISTANT, FIELDS

ROLE_NAMES = {
    "human": "user",
    "gpt": ASSISTANT,
    "chatgpt": ASSISTANT,
    "bot": ASSISTANT,
    "observation": "tool",
    "function_response": "tool",
}
"""ShareGPT's names of roles that chat templates name otherwise."""
CALL = "function_call"
ROLES = frozenset(("system", "developer", "user", ASSISTANT, "tool", CALL, *ROLE_NAMES))
NAMES = {"role", "content", "from", "value", CALL, *FIELDS}
KEYS = (("role", "content"), ("from", "value"))
Note = Callable[[str], None]

_WRITTEN = re.compile(r"""\s*\[?\s*\{\s*['"](role|from|content|value)['"]\s*:""")


def normalise_turns(cell: Any, note: Note, ignore: frozenset[str] = frozenset()) -> Any:
    """Returns a cell that holds turns as a list of messages, and any other cell unchanged.

    Args:
        cell: The cell. A list of lists holds several conversations, each of which is brought into the form.
        note: Called with the name of every field of a message that is left out.
        ignore: Fields, and types of parts, to leave out of every message.
    """
    if isinstance(cell, str):
        turns = _parse(cell) if looks_like_turns(cell) else None
        return normalise_turns(turns, note, ignore) if turns else cell
    if isinstance(cell, Mapping):
        if isinstance(cell.get("role", cell.get("from")), list) and all(isinstance(v, list) for v in cell.values()):
            parts = zip(*cell.values(), strict=False)
            return [_message(dict(zip(cell, values, strict=False)), note, ignore) for values in parts]
        return [_message(cell, note, ignore)] if _is_message(cell) and _role(cell) in ROLES else cell
    if _is_conversation(cell):
        return [_message(item, note, ignore) for item in cell]
    if isinstance(cell, list) and any(map(_is_conversation, cell)):
        return [normalise_turns(item, note, ignore) if _is_conversation(item) else item for item in cell]
    return cell


def looks_like_turns(text: str) -> bool:
    """Returns whether a text begins like turns that were written as JSON or Python."""
    return bool(_WRITTEN.match(text))


def is_unparsed(text: str) -> bool:
    """Returns whether a text is a list of turns by its look: what :func:`normalise_turns` could not parse."""
    if not text.lstrip().startswith("[") or not looks_like_turns(text):
        return False
    return any(all(re.search(f"['\"]{name}['\"]", text) for name in keys) for keys in KEYS)


def without_nulls(value: Any, depth: int = 64) -> Any:
    """Returns plain data without the empty fields of its objects, which Arrow adds where rows have different fields.

    Args:
        value: The data.
        depth: Below this depth it stays as it is.
    """
    if isinstance(value, Mapping) and depth:
        return {name: without_nulls(item, depth - 1) for name, item in value.items() if item is not None}
    return [without_nulls(item, depth - 1) for item in value] if isinstance(value, list) and depth else value


def parse_json(text: Any) -> Any:
    """Returns what a text holds as JSON; None where it is no JSON, and any other value unchanged."""
    if not isinstance(text, str):
        return text
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _parse(text: str) -> Any:
    """Returns the turns that a text holds; None where it holds none."""
    value = parse_json(text)
    if value is None:
        try:
            value = ast.literal_eval(text.strip())
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            return None
    items = value if isinstance(value, list) else [value]
    if items and all(isinstance(item, dict) and _is_message(item) and _role(item) in ROLES for item in items):
        return value
    return None


def _is_conversation(cell: Any) -> bool:
    return isinstance(cell, list) and bool(cell) and all(isinstance(i, Mapping) and _is_message(i) for i in cell)


def _is_message(item: Mapping[str, Any]) -> bool:
    return isinstance(_role(item), str) and any(name in item for name in ("content", "value", "tool_calls", CALL))


def _role(item: Mapping[str, Any]) -> Any:
    return item.get("role") or item.get("from")


def _message(item: Mapping[str, Any], note: Note, ignore: frozenset[str]) -> dict[str, Any]:
    """Returns a message with role, content and those fields that a chat template takes."""
    role = _role(item)
    content = item.get("content", item.get("value"))
    is_plain = isinstance(content, str) and isinstance(role, str) and role not in ROLE_NAMES
    if is_plain and item.keys() == {"role", "content"} and role != CALL:
        return dict(item)
    message: dict[str, Any] = {"role": ROLE_NAMES.get(role, role) if isinstance(role, str) else role}
    fields = {name: without_nulls(item[name]) for name in FIELDS if item.get(name) not in (None, "", [])}
    call = item.get(CALL)
    if role == CALL:  # ShareGPT writes the call as the content of a turn
        call, content = parse_json(content), None if parse_json(content) else content
        message["role"] = ASSISTANT
    if call:
        calls = call if isinstance(call, list) else [call]
        fields["tool_calls"] = [{"type": "function", "function": without_nulls(one)} for one in calls]
    if "tool_calls" in fields:
        fields["tool_calls"] = _with_arguments(fields["tool_calls"])
    message["content"] = "" if content is None and "tool_calls" in fields else _text(content, note)
    for name in (*fields, *(name for name in item if name not in NAMES and item[name] not in (None, "", [], {}))):
        if name in fields and name not in ignore:
            message[name] = fields[name]
        else:
            note(name)
    return message


def _text(content: Any, note: Note) -> Any:
    """Returns a message's content as text, the text parts of a list joined; anything else unchanged."""
    if not isinstance(content, list):
        return content
    texts = list[str]()
    for part in content:
        text = part.get("text") if isinstance(part, Mapping) and part.get("type", "text") == "text" else part
        if isinstance(text, str):
            texts.append(text)
        else:
            note(str(part.get("type")) if isinstance(part, Mapping) else "content")
    return "".join(texts)


def _with_arguments(calls: Any) -> Any:
    """Returns calls of tools with arguments that are objects: templates write a text once more as JSON."""
    if isinstance(calls, str):
        calls = parse_json(calls)
    if not isinstance(calls, list):
        return calls
    result = []
    for call in calls:
        function = call.get("function") if isinstance(call, Mapping) else None
        holder = function if isinstance(function, Mapping) else call
        if isinstance(holder, Mapping) and isinstance(parse_json(holder.get("arguments")), dict):
            holder = {**holder, "arguments": parse_json(holder["arguments"])}
            call = {**call, "function": holder} if isinstance(function, Mapping) else holder
        result.append(call)
    return result
