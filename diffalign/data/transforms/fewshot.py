"""Few shots: a user's earlier judgements stand in the prompt, so that one model answers each user as that user likes.

    Example 1
    Question: ...
    Preferred answer: ...
    Other answer: ...

    Answer the next question the way this person prefers.

    <the query, as it stood>

Source: Singh et al. 2025, FSPO (arXiv 2502.19312): windows of N shots and a query, 2 (N + 1) passes with new shuffles,
descriptions of the user as a chain of thought or given. Their loader leaves one row out between windows, and leaves to
chance how often a row is asked; here windows touch, and rows are asked equally often, give or take one.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Literal, get_args

from diffalign.data.readers.parse_row import digest
from diffalign.data.readers.rows_with_columns import PairRow, list_to_pair
from diffalign.data.records.conversation import ASSISTANT, Conversation, Message, Text
from diffalign.data.records.pair import Dropped, Media, Pair
from diffalign.data.transforms.result import TransformResult
from diffalign.errors import DataError, UserError, near_miss

Persona = Literal["none", "cot", "teacher"]
TASK = "Answer the next question the way this person prefers."
NO_USER, FEW, NO_TEXT, NO_PERSONA = "no user", "too few rows of the user", "not a text", "no description of the user"


def fewshot(
    lines: Sequence[PairRow],
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
    """Rows whose prompts show ``shots`` other judgements of the same user.

    Args:
        lines: Pairs of texts with their users.
        shots: N, at least 0. With 0 every row is there once, with the task line before its prompt.
        group_by: The column that names the user; ``"group"`` is what the reader took for it (``group``, ``domain``,
            ``user_id``).
        passes: How often each user's rows are shuffled and walked through; by default ``2 (N + 1)``, with no shots 1.
        persona: ``"teacher"``: the user's description stands in the prompt. ``"cot"``: the answers begin with one, the
            chosen with the user's own and the rejected with that of somebody else, so that the model learns to tell
            whom it answers. ``"none"``: no description.
        persona_column: The column with descriptions.
        rejected_too: Show the other answer of each shot beside the preferred one.
        task: The line before the query.
        seed: Of the shuffles.

    Raises:
        UserError: A setting out of its range.
        DataError: No user has enough rows.
    """
    if persona not in get_args(Persona):
        raise UserError(
            f"persona is one of {', '.join(get_args(Persona))}; got '{persona}'.{near_miss(persona, get_args(Persona))}"
        )
    if shots < 0 or passes is not None and passes < 1:
        raise UserError(f"shots is 0 or more and passes 1 or more; got {shots} and {passes}.")
    dropped: list[Dropped] = []
    users = users_of(lines, group_by, dropped)
    personas = {}
    if persona != "none":
        for name, indices in users.items():
            found = (lines[i].columns.get(persona_column) for i in indices)
            personas[name] = next((str(text) for text in found if text), "")
    kept = {}
    for name, indices in users.items():
        reason = FEW if len(indices) <= shots else NO_PERSONA if persona != "none" and not personas[name] else ""
        if reason:
            dropped += [Dropped(lines[i].pair.source, reason, name) for i in indices]
        else:
            kept[name] = indices
    if not kept:
        raise DataError(
            f"no user has {shots + 1} rows of text{' and a description' * (persona != 'none')}. Users are told apart "
            f"by --group-by, here '{group_by}'; take fewer --shots, or name another column."
        )
    if persona == "cot" and len({personas[name] for name in kept}) < 2:
        raise UserError(
            "with persona cot the rejected answer begins with somebody else's description; there is only one."
        )
    rounds = passes or (2 * (shots + 1) if shots else 1)

    def made() -> Iterator[PairRow]:
        for name, indices in kept.items():
            others = [text for other, text in personas.items() if other in kept and text != personas.get(name)]
            for number, query, shown in windows(indices, shots, rounds, f"{seed}/{name}"):
                examples = [lines[i].pair for i in shown]
                told = personas.get(name, "") if persona == "teacher" else ""
                before = preamble(examples, task, told, rejected_too)
                line = with_preamble(lines[query], before, name, number)
                if persona == "cot":
                    stranger = random.Random(f"{seed}/{line.pair.id}").choice(sorted(others))
                    line = PairRow(with_persona(line.pair, personas[name], stranger), line.columns)
                yield PairRow(line.pair, {**line.columns, "user_id": name, "shot_ids": [pair.id for pair in examples]})

    note = f"{len(kept):,} users, {shots} shots, {rounds} passes"
    return TransformResult(made(), dropped, [note])


def users_of(lines: Sequence[PairRow], group_by: str, dropped: list[Dropped]) -> dict[str, list[int]]:
    """``{user: indices of the rows}``; what has no user or is no pair of texts goes to ``dropped``."""
    users: dict[str, list[int]] = {}
    for index, line in enumerate(lines):
        pair = line.pair
        text = all(isinstance(side, (str, Conversation)) for side in (pair.chosen, pair.rejected))
        name = user_of(line, group_by)
        if name and text:
            users.setdefault(name, []).append(index)
        else:
            dropped.append(Dropped(pair.source, NO_TEXT if name else NO_USER))
    return users


def user_of(line: PairRow, group_by: str) -> str:
    """Who judged the row; "" where its column is empty or absent."""
    value = line.pair.group if group_by == "group" else line.columns.get(group_by)
    if value is None:
        value = line.pair.scores.get("pair", {}).get(group_by)
        value = int(value) if isinstance(value, float) and value.is_integer() else value
    return "" if value is None else str(value)


def split_users(
    lines: Sequence[PairRow], group_by: str, share: float, seed: int = 0
) -> tuple[list[PairRow], list[PairRow]]:
    """The lines in two parts that share no user: to train on, and a ``share`` of the users to test on.

    Raises:
        UserError: A share that leaves one of the parts without a user.
    """
    names = sorted({user_of(line, group_by) for line in lines} - {""}, key=lambda name: digest(str(seed), name))
    count = int(share * len(names) + 0.5)
    if not 0 < count < len(names):
        raise UserError(f"a share of {share} of {len(names)} users is {count}: both parts need at least one.")
    held = set(names[:count])
    kept = [line for line in lines if user_of(line, group_by) not in held]
    return kept, [line for line in lines if user_of(line, group_by) in held]


def windows(indices: Sequence[int], shots: int, passes: int, seed: str) -> Iterator[tuple[int, int, list[int]]]:
    """``(pass, query, shots)``: within a pass no row stands in two windows, and a query is never among its shots.

    Those asked least so far are asked first, so that over the passes rows are asked equally often, give or take one.
    """
    rng, asked_times = random.Random(seed), dict.fromkeys(indices, 0)
    for number in range(passes):
        order = list(indices)
        rng.shuffle(order)
        count = len(order) // (shots + 1)
        queries = sorted(order, key=asked_times.__getitem__)[:count]
        taken = set(queries)
        rest = [index for index in order if index not in taken]
        for place, query in enumerate(queries):
            asked_times[query] += 1
            yield number, query, rest[place * shots : (place + 1) * shots]


def preamble(shots: Sequence[Pair], task: str, persona: str = "", rejected_too: bool = True) -> str:
    """What stands before the query."""
    parts = [f"About the one who asks: {persona}"] if persona else []
    for number, pair in enumerate(shots, 1):
        lines = [f"Example {number}", f"Question: {inline_text(pair.prompt)}"]
        lines.append(f"Preferred answer: {inline_text(pair.chosen)}")
        if rejected_too:
            lines.append(f"Other answer: {inline_text(pair.rejected)}")
        parts.append("\n".join(lines))
    return "\n\n".join([*parts, task])


def inline_text(text: Media | None) -> str:
    """A text within another: one turn without its role, several with theirs."""
    if isinstance(text, Conversation) and len(text) == 1:
        text = text.messages[0].content
    return str(text).strip()


def with_preamble(line: PairRow, before: str, user: str, number: int) -> PairRow:
    """The line with ``before`` at the head of what the user says first; its answers stay as they are."""
    pair = list_to_pair(line.pair)
    changed = replace(
        pair,
        id=f"{pair.id}/{number}" if number else pair.id,
        prompt=_headed(pair.prompt, before),
        rejected_prompt=None if pair.rejected_prompt is None else _headed(pair.rejected_prompt, before),
        group=user,
        further={},
    )
    return PairRow(changed, line.columns)


def with_persona(pair: Pair, own: str, other: str) -> Pair:
    """The pair with a description of the user at the head of both answers, the true one at the chosen's."""
    form: Callable[[str], str] = lambda text: f"The one who asks: {text}"
    chosen, rejected = (
        _headed(side, form(text), ASSISTANT) for side, text in ((pair.chosen, own), (pair.rejected, other))
    )
    return replace(pair, chosen=chosen, rejected=rejected)


def _headed(text: Media | None, before: str, role: str = "user") -> Text:
    if not isinstance(text, Conversation):
        return f"{before}\n\n{text!s}"
    turns = list(text.messages)
    place = next((i for i, turn in enumerate(turns) if turn.role == role), None)
    if place is None:
        return Conversation((Message(role, before), *turns))
    turns[place] = Message(role, f"{before}\n\n{turns[place].content}")
    return Conversation(tuple(turns))
