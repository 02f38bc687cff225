"""Implicit prompts: ``chosen`` and ``rejected`` alone, each with the prompt inside, in three forms.

1. Lists of messages: the turns that both share are the prompt.
2. Transcripts as HH-RLHF writes them, ``"\\n\\nHuman: ...\\n\\nAssistant: ..."``: read as messages, or split as text
   after the last ``Assistant:`` that both share.
3. Other strings: the beginning that both share, up to where a word begins. TRL splits at the letter where they part;
   that is the same wherever the answers differ in their first letter, and elsewhere it would cut a word.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any, Literal, get_args

from diffalign.data.readers.parse_row import ROLES, Drop, Ids, label_probability, require_columns, row_id, scores_of
from diffalign.data.readers.tables import Table, TableRow
from diffalign.data.readers.text_cells import USER, check_texts, equal_turns, is_turns, read_text, split_shared_turns
from diffalign.data.readers.trl import names_files
from diffalign.data.records.conversation import ASSISTANT, Conversation, Message, Text
from diffalign.data.records.pair import BAD_ROW, BAD_TURNS, EMPTY_CANDIDATE, EMPTY_PROMPT, IDENTICAL, Dropped, Pair
from diffalign.data.storage.table_cell import TableCell
from diffalign.errors import DataError, near_miss

REQUIRED = ROLES
UNLESS = ("question", "instruction", "query", "input", "caption", "text")
Turns = Literal["messages", "text"]

_SPEAKER = re.compile(r"(?:\A\s*|\n\n)(Human|Assistant):")


def read_implicit(tables: Sequence[Table], *, turns: Turns = "messages") -> Iterator[Pair | Dropped]:
    """Yields a pair or a dropped row per row.

    Args:
        tables: Tables in any file format.
        turns: What transcripts become: conversations, for a model with a chat template, or plain text as it stands.

    Raises:
        DataError: A missing column, images, or no such kind of turns.
    """
    known = get_args(Turns)
    if turns not in known:
        raise DataError(
            f"turns says what transcripts become: {' or '.join(known)}; got '{turns}'.{near_miss(str(turns), known)}"
        )
    ids = Ids()
    for table in tables:
        require_columns(table.columns, REQUIRED, where=str(table.path), format="implicit")
        _refuse_images(table)
        for row in table.rows():
            try:
                yield _pair(row, turns == "text", ids)
            except Drop as drop:
                yield drop.at(row.source)


def _pair(row: TableRow, plain: bool, ids: Ids) -> Pair:
    if row.problem:
        raise Drop(BAD_ROW, row.problem)
    values = row.values
    sides = [read_text(values.get(role), role) for role in ROLES]
    for side, role in zip(sides, ROLES, strict=True):
        if not str(side).strip():
            raise Drop(EMPTY_CANDIDATE, role)
    if sides[0] == sides[1]:
        raise Drop(IDENTICAL)
    prompt, answers = _parted(sides, plain)
    name = check_texts(prompt, answers, ROLES)
    name = ids.unique(row_id(values, name))
    chosen, rejected = answers
    return Pair(name, prompt, chosen, rejected, label_probability(values), scores_of(values, REQUIRED), row.source)


def _parted(sides: Sequence[Text], plain: bool) -> tuple[Text, Sequence[Text]]:
    conversations = [side for side in sides if isinstance(side, Conversation)]
    texts = [side for side in sides if isinstance(side, str)]
    if not texts:
        return split_shared_turns(conversations)
    if conversations:
        raise Drop(BAD_TURNS, "one answer is plain text and the other is in turns")
    spoken = [bool((first := _SPEAKER.match(text)) and first[1] == "Human") for text in texts]
    if not all(spoken):
        return split_text(*texts)
    return split_transcript(*texts) if plain else split_shared_turns([transcript(text) for text in texts])


def transcript(text: str) -> Conversation:
    """``"\\n\\nHuman: ...\\n\\nAssistant: ..."`` as messages."""
    marks = list(_SPEAKER.finditer(text))
    ends = [mark.start() for mark in marks[1:]] + [len(text)]
    roles = {"Human": USER, "Assistant": ASSISTANT}
    pieces = zip(marks, ends, strict=True)
    return Conversation(tuple(Message(roles[mark[1]], text[mark.end() : end].strip()) for mark, end in pieces))


def split_transcript(chosen: str, rejected: str) -> tuple[str, list[str]]:
    """Transcripts as text: the prompt reaches to the colon after which they part, the answers begin there."""
    marks = [list(_SPEAKER.finditer(text)) for text in (chosen, rejected)]
    ends = [[mark.start() for mark in of[1:]] + [len(text)] for of, text in zip(marks, (chosen, rejected), strict=True)]
    turns = [
        [(mark[1], text[mark.end() : end]) for mark, end in zip(of, until, strict=True)]
        for of, until, text in zip(marks, ends, (chosen, rejected), strict=True)
    ]
    shared = min(equal_turns(turns), *(len(of) - 1 for of in turns))
    if any(of[shared][0] != "Assistant" for of in turns):
        raise Drop(BAD_TURNS, "chosen and rejected part where it is not the assistant's turn")
    place = marks[0][shared].end()
    if chosen[:place] != rejected[:place]:
        raise Drop(BAD_TURNS, "chosen and rejected begin with different spaces")
    return chosen[:place], [chosen[place:], rejected[place:]]


def split_text(chosen: str, rejected: str) -> tuple[str, list[str]]:
    """Strings at the beginning that they share, cut back to where a word begins; one space goes to the answers."""
    shared = os.path.commonprefix([chosen, rejected])
    if shared and not shared[-1].isspace():
        shared = shared[: -len(shared.rsplit(maxsplit=1)[-1])]
    shared = shared.removesuffix(" ")
    if not shared.strip():
        raise Drop(EMPTY_PROMPT, "chosen and rejected share no beginning")
    return shared, [chosen[len(shared) :], rejected[len(shared) :]]


def _refuse_images(table: Table) -> None:
    first = next((row.values for row in islice(table.rows(), 1)), {})
    if names_files(table) or any(_is_file(first.get(role)) for role in ROLES):
        raise DataError(
            f"'{table.path}' holds images or clips in 'chosen' and 'rejected', and no prompt: only texts hold their "
            "prompt inside. Give it the column 'prompt', or say which one it is: columns={'prompt': '<its name>'}."
        )


def _is_file(cell: Any) -> bool:
    return isinstance(cell, (bytes, TableCell)) or isinstance(cell, dict) and not is_turns(cell)
