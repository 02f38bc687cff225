"""Adds few-shot examples of a user's other preferences to the prompt, so that one model can adapt to each user.

    Example 1
    Question: ...
    Preferred answer: ...
    Other answer: ...

    Answer the next question the way this person prefers.

    <the query, unchanged>

Source: Singh et al. 2025, FSPO (arXiv 2502.19312): windows of N shots and a query, 2 (N + 1) passes with new shuffles,
descriptions of the user as a chain of thought or given. Their loader leaves one row out between windows, and how often
a row is the query is random; here windows are adjacent, and every row is the query equally often, up to one time.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Literal, get_args

from diffalign.data.readers.formats.pairs_with_extra_columns import PairRow, list_to_pair
from diffalign.data.readers.rows.parse_row import digest
from diffalign.data.records.conversation import ASSISTANT, Conversation, Message, Text
from diffalign.data.records.pair import Dropped, Media, Pair
from diffalign.data.transforms.result import TransformResult
from diffalign.errors import DataError, UserError, near_miss

Persona = Literal["none", "cot", "teacher"]
TASK = "Answer the next question the way this person prefers."
NO_USER, FEW, NO_TEXT, NO_PERSONA = "no user", "too few rows of the user", "not a text", "no description of the user"


def fewshot(
    rows: Sequence[PairRow],
    *,
    shots: int = 4,
    group_by: str = "group",
    passes: int | None = None,
    persona: Persona = "none",
    persona_column: str = "persona",
    rejected_too: bool = True,
    task: str = TASK,
    seed: int = 0,
) -> TransformResult:
    """Makes rows whose prompts show ``shots`` other preferences of the same user.

    Args:
        rows: Pairs of texts with their users.
        shots: N, at least 0. With 0 every row occurs once, with the task before its prompt.
        group_by: The column that names the user; ``"group"`` is the column that the reader uses (``group``, ``domain``
            or ``user_id``).
        passes: How often each user's rows are shuffled and read; by default ``2 (N + 1)``, without shots 1.
        persona: ``"teacher"``: the user's description is part of the prompt. ``"cot"``: the answers begin with a
            description, the chosen one with the user's own and the rejected one with another user's, so that the model
            learns to identify the user. ``"none"``: no description.
        persona_column: The column with descriptions.
        rejected_too: Show the rejected answer of each shot in addition to the preferred one.
        task: The instruction before the query.
        seed: Seed of the shuffles.

    Raises:
        UserError: A setting is out of its range.
        DataError: No user has enough rows.
    """
    if persona not in get_args(Persona):
        raise UserError(
            f"persona is one of {', '.join(get_args(Persona))}; got '{persona}'.{near_miss(persona, get_args(Persona))}"
        )
    if shots < 0 or passes is not None and passes < 1:
        raise UserError(f"shots is 0 or more and passes 1 or more; got {shots} and {passes}.")
    dropped: list[Dropped] = []
    users = users_of(rows, group_by, dropped)
    personas = {}
    if persona != "none":
        for name, indices in users.items():
            descriptions = (rows[i].columns.get(persona_column) for i in indices)
            personas[name] = next((str(text) for text in descriptions if text), "")
    kept_users = {}
    for name, indices in users.items():
        reason = FEW if len(indices) <= shots else NO_PERSONA if persona != "none" and not personas[name] else ""
        if reason:
            dropped += [Dropped(rows[i].pair.source, reason, name) for i in indices]
        else:
            kept_users[name] = indices
    if not kept_users:
        raise DataError(
            f"no user has {shots + 1} rows of text{' and a description' * (persona != 'none')}. --group-by names the "
            f"column of users, here '{group_by}'; give fewer --shots, or another column."
        )
    if persona == "cot" and len({personas[name] for name in kept_users}) < 2:
        raise UserError(
            "with persona cot the rejected answer begins with another user's description, but there is only one "
            "description. Give --persona teacher or none."
        )
    rounds = passes or (2 * (shots + 1) if shots else 1)

    def make_rows() -> Iterator[PairRow]:
        for name, indices in kept_users.items():
            others = [text for other, text in personas.items() if other in kept_users and text != personas.get(name)]
            for number, query, shot_indices in windows(indices, shots, rounds, f"{seed}/{name}"):
                examples = [rows[i].pair for i in shot_indices]
                description = personas.get(name, "") if persona == "teacher" else ""
                before = preamble(examples, task, description, rejected_too)
                row = with_preamble(rows[query], before, name, number)
                if persona == "cot":
                    other_persona = random.Random(f"{seed}/{row.pair.id}").choice(sorted(others))
                    row = PairRow(with_persona(row.pair, personas[name], other_persona), row.columns)
                yield PairRow(row.pair, {**row.columns, "user_id": name, "shot_ids": [pair.id for pair in examples]})

    note = f"{len(kept_users):,} users, {shots} shots, {rounds} passes"
    return TransformResult(make_rows(), dropped, [note])


def users_of(rows: Sequence[PairRow], group_by: str, dropped: list[Dropped]) -> dict[str, list[int]]:
    """Returns ``{user: indices of the rows}``. Rows without a user, and pairs of other media, go to ``dropped``."""
    users: dict[str, list[int]] = {}
    for index, row in enumerate(rows):
        pair = row.pair
        is_text = all(isinstance(side, (str, Conversation)) for side in (pair.chosen, pair.rejected))
        name = user_of(row, group_by)
        if name and is_text:
            users.setdefault(name, []).append(index)
        else:
            dropped.append(Dropped(pair.source, NO_TEXT if name else NO_USER))
    return users


def user_of(row: PairRow, group_by: str) -> str:
    """Returns the user who labelled the row; "" where its column is empty or absent."""
    value = row.pair.group if group_by == "group" else row.columns.get(group_by)
    if value is None:
        value = row.pair.scores.get("pair", {}).get(group_by)
        value = int(value) if isinstance(value, float) and value.is_integer() else value
    return "" if value is None else str(value)


def split_users(
    rows: Sequence[PairRow], group_by: str, share: float, seed: int = 0
) -> tuple[list[PairRow], list[PairRow]]:
    """Splits the rows into two parts that share no user: for training, and with a ``share`` of the users for testing.

    Raises:
        UserError: One of the parts would have no user.
    """
    names = sorted({user_of(row, group_by) for row in rows} - {""}, key=lambda name: digest(str(seed), name))
    count = int(share * len(names) + 0.5)
    if not 0 < count < len(names):
        raise UserError(f"a share of {share} of {len(names)} users is {count}: both parts need at least one.")
    test_users = set(names[:count])
    train_rows = [row for row in rows if user_of(row, group_by) not in test_users]
    return train_rows, [row for row in rows if user_of(row, group_by) in test_users]


def windows(indices: Sequence[int], shots: int, passes: int, seed: str) -> Iterator[tuple[int, int, list[int]]]:
    """Yields ``(pass, query, shots)``. Within a pass the windows share no row, and a query is never among its shots.

    Rows that were the query least often come first, so that over the passes all are queries equally often, up to one.
    """
    rng, query_counts = random.Random(seed), dict.fromkeys(indices, 0)
    for number in range(passes):
        order = list(indices)
        rng.shuffle(order)
        count = len(order) // (shots + 1)
        queries = sorted(order, key=query_counts.__getitem__)[:count]
        query_set = set(queries)
        shot_pool = [index for index in order if index not in query_set]
        for position, query in enumerate(queries):
            query_counts[query] += 1
            yield number, query, shot_pool[position * shots : (position + 1) * shots]


def preamble(shots: Sequence[Pair], task: str, persona: str = "", rejected_too: bool = True) -> str:
    """Returns the text before the query: the user's description, the examples and the task."""
    parts = [f"About the one who asks: {persona}"] if persona else []
    for number, pair in enumerate(shots, 1):
        example = [f"Example {number}", f"Question: {inline_text(pair.prompt)}"]
        example.append(f"Preferred answer: {inline_text(pair.chosen)}")
        if rejected_too:
            example.append(f"Other answer: {inline_text(pair.rejected)}")
        parts.append("\n".join(example))
    return "\n\n".join([*parts, task])


def inline_text(text: Media | None) -> str:
    """Returns a text to embed in another one: a single turn without its role, several turns with theirs."""
    if isinstance(text, Conversation) and len(text) == 1 and not text.messages[0].fields_json:
        text = text.messages[0].content
    return str(text).strip()


def with_preamble(row: PairRow, before: str, user: str, number: int) -> PairRow:
    """Puts ``before`` at the beginning of the user's first turn. The answers are unchanged."""
    pair = list_to_pair(row.pair)
    pair = replace(
        pair,
        id=f"{pair.id}/{number}" if number else pair.id,
        prompt=_prepend(pair.prompt, before),
        rejected_prompt=None if pair.rejected_prompt is None else _prepend(pair.rejected_prompt, before),
        group=user,
        further={},
    )
    return PairRow(pair, row.columns)


def with_persona(pair: Pair, own_persona: str, other_persona: str) -> Pair:
    """Puts a description at the beginning of both answers: the user's own for the chosen one, another's for the
    rejected one.
    """
    chosen, rejected = (
        _prepend(side, f"The one who asks: {text}", ASSISTANT)
        for side, text in ((pair.chosen, own_persona), (pair.rejected, other_persona))
    )
    return replace(pair, chosen=chosen, rejected=rejected)


def _prepend(text: Media | None, before: str, role: str = "user") -> Text:
    if not isinstance(text, Conversation):
        return f"{before}\n\n{text!s}"
    turns = list(text.messages)
    index = next((i for i, turn in enumerate(turns) if turn.role == role), None)
    if index is None:
        return replace(text, messages=(Message(role, before), *turns))
    turns[index] = replace(turns[index], content=f"{before}\n\n{turns[index].content}")
    return replace(text, messages=tuple(turns))
