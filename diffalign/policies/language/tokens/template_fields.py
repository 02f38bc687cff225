"""Fields of messages that a chat template has to write: calls of tools, thoughts, and the tools themselves.

Whether it writes them is found by rendering the turns without: an equal text means that the template reads nothing of
the field, and that the model would be trained on another row than the data set has.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from diffalign.data.records.conversation import THOUGHTS, Conversation, Message, to_json
from diffalign.errors import DataError

WRITTEN = ("tool_calls", *THOUGHTS)
"""Fields without which a row means something else. The others (``name``, ``tool_call_id``) only label a turn."""


def require_fields(render: Callable[[Conversation], str], turns: Conversation, text: str, first: int = 0) -> None:
    """Raises DataError where a template leaves out a field of ``turns``.

    Thoughts before the user's last turn may be left out: templates of reasoning models do so on purpose.

    Args:
        render: Renders turns as ``text`` was rendered.
        turns: The turns.
        text: Their text.
        first: The first turn whose fields are looked at. Tools are looked at from turn 0 only.
    """
    for name, place, without in _without_each(turns, first):
        try:
            is_left_out = render(without) == text
        except DataError:  # the template needs the field
            continue
        if is_left_out:
            raise DataError(
                f"the chat template leaves out {name}{place}. Give a template that writes them: --set "
                f"model.chat_template=FILE.jinja, or leave them out on purpose: --set data.options.ignore=[{name}]"
            )


def unwritten_labels(render: Callable[[Conversation], str], turns: Conversation, text: str) -> set[str]:
    """Returns the fields that only label a turn, such as ``name``, and that the template leaves out."""
    unwritten = set()
    for number, message in enumerate(turns.messages):
        for name in message.fields.keys() - set(WRITTEN):
            changed = (*turns.messages[:number], _without(message, name), *turns.messages[number + 1 :])
            try:
                if render(replace(turns, messages=changed)) == text:
                    unwritten.add(name)
            except DataError:  # the template needs the field
                continue
    return unwritten


def _without_each(turns: Conversation, first: int) -> Iterator[tuple[str, str, Conversation]]:
    """Yields each field that must be written: its name, its place, and the turns without it."""
    if turns.tools_json and not first:
        yield "tools", "", replace(turns, tools_json="")
    messages = turns.messages
    last_question = max((number for number, message in enumerate(messages) if message.role == "user"), default=0)
    for number, message in enumerate(messages[first:], first):
        for name in message.fields:
            if name in WRITTEN and (name not in THOUGHTS or number > last_question):
                changed = (*messages[:number], _without(message, name), *messages[number + 1 :])
                yield name, f" of turn {number} (role '{message.role}')", replace(turns, messages=changed)


def _without(message: Message, name: str) -> Message:
    fields = {other: value for other, value in message.fields.items() if other != name}
    return replace(message, fields_json=to_json(fields) if fields else "")
