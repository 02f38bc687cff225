"""Reads pairs with implicit prompts: ``chosen`` and ``rejected`` without a prompt column, each with the prompt inside.

1. Lists of messages: the turns that both share are the prompt.
2. Transcripts as HH-RLHF writes them, ``"\\n\\nHuman: ...\\n\\nAssistant: ..."``: read as messages, or split as text
   after the last ``Assistant:`` that both share.
3. Other strings: the prompt is the beginning that both share, cut back to the start of a word. TRL splits at the first
   letter that differs. The two agree where the answers differ in their first letter; otherwise TRL's rule cuts a word.
   In scripts without spaces (Chinese, Japanese, Thai, ...) each letter is a word.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any, Literal, get_args

from diffalign.data.readers.formats.trl import names_files
from diffalign.data.readers.rows.parse_row import (
    ROLES,
    Drop,
    Ids,
    label_probability,
    read_rows,
    require_columns,
    row_id,
    scores_of,
)
from diffalign.data.readers.rows.prompt_parts import add_prompt_parts
from diffalign.data.readers.rows.text_cells import (
    USER,
    check_texts,
    count_shared_turns,
    read_text,
    split_shared_turns,
)
from diffalign.data.readers.rows.word_borders import last_border
from diffalign.data.readers.tables import Table, TableRow
from diffalign.data.records.conversation import ASSISTANT, Conversation, Message, Text
from diffalign.data.records.pair import BAD_TURNS, EMPTY_CANDIDATE, EMPTY_PROMPT, IDENTICAL, Dropped, Pair
from diffalign.data.storage.lazy_table_cell import TableCell
from diffalign.errors import DataError, near_miss

REQUIRED = ROLES
UNLESS = ("question", "instruction", "query", "input", "caption", "text")
Turns = Literal["messages", "text"]

_SPEAKER = re.compile(r"(?:\A\s*|\n\n)(Human|Assistant):")


def read_implicit(tables: Sequence[Table], *, turns: Turns = "messages") -> Iterator[Pair | Dropped]:
    """Yields a pair or a dropped row for each row.

    Args:
        tables: Tables in any file format.
        turns: The form of transcripts: conversations, for a model with a chat template, or unchanged plain text.

    Raises:
        DataError: A column is missing, the cells are images, or ``turns`` has another value.
    """
    forms = get_args(Turns)
    if turns not in forms:
        raise DataError(
            f"turns is the form of transcripts: {' or '.join(forms)}; got '{turns}'.{near_miss(str(turns), forms)}"
        )
    ids = Ids()
    for table in tables:
        require_columns(table.columns, REQUIRED, where=str(table.path), format="implicit")
        _refuse_images(table)
        yield from read_rows(table, _read_pair, turns == "text", ids)


def _read_pair(row: TableRow, as_plain_text: bool, ids: Ids) -> Pair:
    values = row.values
    sides = [read_text(values.get(role), role) for role in ROLES]
    for side, role in zip(sides, ROLES, strict=True):
        if not str(side).strip():
            raise Drop(EMPTY_CANDIDATE, role)
    if sides[0] == sides[1]:
        raise Drop(IDENTICAL)
    prompt, answers = _split_prompt(sides, as_plain_text)
    if isinstance(prompt, Conversation):
        prompt, answers = add_prompt_parts(prompt, answers, values)
    content_id = check_texts(prompt, answers, ROLES)
    name = ids.unique(row_id(values, content_id))
    chosen, rejected = answers
    return Pair(name, prompt, chosen, rejected, label_probability(values), scores_of(values, REQUIRED), row.source)


def _split_prompt(sides: Sequence[Text], as_plain_text: bool) -> tuple[Text, Sequence[Text]]:
    conversations = [side for side in sides if isinstance(side, Conversation)]
    texts = [side for side in sides if isinstance(side, str)]
    if not texts:
        return split_shared_turns(conversations)
    if conversations:
        raise Drop(BAD_TURNS, "one answer is plain text and the other is in turns")
    are_transcripts = [bool((first := _SPEAKER.match(text)) and first[1] == "Human") for text in texts]
    if not all(are_transcripts):
        return split_text(*texts)
    if as_plain_text:
        return split_transcript(*texts)
    return split_shared_turns([parse_transcript(text) for text in texts])


def parse_transcript(text: str) -> Conversation:
    """Parses ``"\\n\\nHuman: ...\\n\\nAssistant: ..."`` into messages."""
    marks = list(_SPEAKER.finditer(text))
    roles = {"Human": USER, "Assistant": ASSISTANT}
    pieces = zip(marks, _turn_ends(marks, text), strict=True)
    return Conversation(tuple(Message(roles[mark[1]], text[mark.end() : end].strip()) for mark, end in pieces))


def split_transcript(chosen: str, rejected: str) -> tuple[str, list[str]]:
    """Splits two transcripts as text, at the colon of the first turn in which they differ."""
    marks = [list(_SPEAKER.finditer(text)) for text in (chosen, rejected)]
    turns = [
        [(mark[1], text[mark.end() : end]) for mark, end in zip(side, _turn_ends(side, text), strict=True)]
        for side, text in zip(marks, (chosen, rejected), strict=True)
    ]
    shared = min(count_shared_turns(turns), *(len(side) - 1 for side in turns))
    if any(side[shared][0] != "Assistant" for side in turns):
        raise Drop(BAD_TURNS, "chosen and rejected first differ in a turn that is not the assistant's")
    start = marks[0][shared].end()
    if chosen[:start] != rejected[:start]:
        raise Drop(BAD_TURNS, "chosen and rejected begin with different spaces")
    return chosen[:start], [chosen[start:], rejected[start:]]


def _turn_ends(marks: Sequence[re.Match[str]], text: str) -> list[int]:
    return [mark.start() for mark in marks[1:]] + [len(text)]


def split_text(chosen: str, rejected: str) -> tuple[str, list[str]]:
    """Splits two strings at the end of their common beginning, cut back to the start of a word.

    A space before that word goes to the answers.
    """
    shared = os.path.commonprefix([chosen, rejected])
    shared = shared[: last_border(shared, (chosen, rejected))].removesuffix(" ")
    if not shared.strip():
        raise Drop(EMPTY_PROMPT, "chosen and rejected share no beginning")
    return shared, [chosen[len(shared) :], rejected[len(shared) :]]


def _refuse_images(table: Table) -> None:
    first = next((row.values for row in islice(table.rows(), 1)), {})
    if names_files(table) or any(_is_file(first.get(role)) for role in ROLES):
        raise DataError(
            f"'{table.path}' holds images or videos in 'chosen' and 'rejected', and no prompt; only texts can hold "
            "their prompt inside. Add the column 'prompt', or name the one that has it: "
            "columns={'prompt': '<its name>'}."
        )


def _is_file(cell: Any) -> bool:
    is_file = isinstance(cell, dict) and bool({"bytes", "path"} & cell.keys())
    return is_file or isinstance(cell, (bytes, TableCell))
