"""Reads comparisons of two sides and their winner: votes of arenas, judged pairs of answers, pairs of images.

    prompt        response_a, response_b    winner                 also answer, output, completion; 1 and 2, 0 and 1
    (none)        conversation_a, ..._b     winner                 Chatbot Arena: the prompt is what both share
    instruction   response1, response2      preferred              PandaLM, with its input
    input         output_1, output_2        label                  LLMBar
    context       response1, response2      overall_preference     HelpSteer3; HelpSteer2: preference_strength
    prompt        left_image, right_image   vote_type              GenAI-Bench
    caption       image_0, image_1          label_0, preference    as Pick-a-Pic
    prompt        video_a, video_b          winner                 videos, by name or as bytes
    prompt        response_a, response_b    winner_model_a         LMSYS's competition, with turns as lists

A side has the forms of a candidate of the ``trl`` format. `winners` reads the winner. Optional columns are those of
``trl``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any, Literal, get_args

from diffalign.data.readers.formats.trl import TEXT, content_of, names_files, read_candidate
from diffalign.data.readers.formats.winners import STRENGTHS, VOTES, WINNERS, Winners, read_winners
from diffalign.data.readers.rows.listed_turns import read_exchanges
from diffalign.data.readers.rows.parse_row import (
    Drop,
    Ids,
    as_number,
    content_parts,
    digest,
    group_of,
    read_rows,
    row_id,
    scores_of,
    validate_pair,
    with_rate,
)
from diffalign.data.readers.rows.prompt_parts import add_prompt_parts
from diffalign.data.readers.rows.text_cells import align_forms, check_texts, read_text
from diffalign.data.readers.tables import Table, TableRow
from diffalign.data.records.conversation import Text
from diffalign.data.records.pair import BAD_ROW, IDENTICAL, TIE, Dropped, Pair
from diffalign.errors import DataError, near_miss

TEXTS = ("response", "answer", "output", "completion", "conversation")
IMAGES, VIDEOS = ("image", "img"), ("video", "clip")
ENDINGS = (("_a", "_b"), ("_A", "_B"), ("_0", "_1"), ("_1", "_2"), ("1", "2"), ("_left", "_right"))
SIDES = tuple(
    sides
    for stem in (*TEXTS, *IMAGES, *VIDEOS)
    for sides in (
        *((f"{stem}{one}", f"{stem}{two}") for one, two in ENDINGS),
        (f"left_{stem}", f"right_{stem}"),
        (f"left_output_{stem}", f"right_output_{stem}"),
    )
)
"""Columns of the two sides that are recognised."""
PROMPTS = ("prompt", "instruction", "question", "context", "query", "input", "caption", "text", "user_input")
"""Columns of the prompt; the first one present is read."""
REQUIRED = ("response_a", "response_b", "winner")
ALIASES = {
    "response_a": tuple(first for first, _ in SIDES),
    "response_b": tuple(second for _, second in SIDES),
    "winner": WINNERS[1:],
}
Ties = Literal["drop", "soft"]
FIRST_CELLS = 1000
"""The meaning of numbers is found in the winners of this many first rows."""


@dataclass(frozen=True)
class _Columns:
    """The columns of a table: the two sides, the prompt ("" where the sides hold it), and how the winner is written."""

    sides: tuple[str, str]
    prompt: str
    winners: Winners
    folder: Path | None


def read_two_sides(
    tables: Sequence[Table],
    *,
    ties: Ties = "drop",
    winners: Mapping[Any, Any] | None = None,
    root: str | Path | None = None,
) -> Iterator[Pair | Dropped]:
    """Yields a pair or a dropped row for each row.

    Args:
        tables: Tables in any file format.
        ties: ``"drop"`` leaves ties out; ``"soft"`` keeps them with probability 0.5.
        winners: ``{value: "first", "second" or "tie"}``: what the values of the winner's column mean.
        root: Folder that file names are relative to and must stay within; each table's own folder by default.

    Raises:
        DataError: A column is missing; there are more than two sides; the winners are unclear.
    """
    if ties not in get_args(Ties):
        raise DataError(f"ties is {' or '.join(get_args(Ties))}; got '{ties}'.{near_miss(str(ties), get_args(Ties))}")
    if winners is not None and not isinstance(winners, Mapping):
        raise DataError(f"winners gives each value a meaning, such as {{1: first, 2: second}}; got {winners!r}.")
    ids = Ids()
    for table in tables:
        columns = _find_columns(table, winners, root)
        yield from read_rows(table, _read_pair, table, columns, ties, ids)


def _find_columns(table: Table, winners: Mapping[Any, Any] | None, root: str | Path | None) -> _Columns:
    sides = next((s for s in ((REQUIRED[0], REQUIRED[1]), *SIDES) if set(s) <= set(table.columns)), None)
    winner = next((name for name in WINNERS if name in table.columns), None)
    if sides is None or winner is None:
        raise DataError(
            f"'{table.path}' lacks {'two sides' if sides is None else 'the winner'}, which the two_sides format needs. "
            f"Columns there: {', '.join(table.columns)}. Give them: columns={{'response_a': '<the first side>', "
            "'response_b': '<the second>', 'winner': '<who won>'}."
        )
    _refuse_third_side(table, sides)
    stem = next((s for s in (*IMAGES, *VIDEOS) if s in sides[0].lower()), "")
    prompt = next((name for name in PROMPTS if name in table.columns and name not in (*sides, winner)), "")
    if not prompt and "conversation" not in sides[0]:
        raise DataError(
            f"'{table.path}' has two sides ('{sides[0]}' and '{sides[1]}') and no prompt. Columns there: "
            f"{', '.join(table.columns)}. Name it: columns={{'prompt': '<its name in the file>'}}."
        )
    cells = [row.values.get(winner) for row in islice(table.rows(), FIRST_CELLS)]
    files = bool(stem) or names_files(table, sides)
    folder = (Path(root).expanduser() if root else table.folder) if files else None
    return _Columns(sides, prompt, read_winners(winner, sides, cells, winners), folder)


def _refuse_third_side(table: Table, sides: tuple[str, str]) -> None:
    follows = {"0": "2", "1": "3", "2": "3", "b": "c", "B": "C"}
    third = sides[1][:-1] + ("2" if sides[0][-1] == "0" else follows.get(sides[1][-1], "?"))
    if third in table.columns:
        raise DataError(
            f"'{table.path}' has more than two sides: '{sides[0]}', '{sides[1]}' and '{third}'. The two_sides format "
            "compares two; write several answers as a list: prompt, completions, scores (format ranked)."
        )


def _read_pair(row: TableRow, table: Table, columns: _Columns, ties: Ties, ids: Ids) -> Pair:
    values = row.values
    first_wins = columns.winners.first_wins(values)
    if first_wins == 0.5 and ties == "drop":
        raise Drop(TIE)
    order = columns.sides if first_wins >= 0.5 else columns.sides[::-1]
    prompt_cell: Any = values.get(columns.prompt)
    cells: list[Any] = [values.get(side) for side in order]
    if exchanges := read_exchanges(prompt_cell, cells):
        prompt_cell, cells = None, list(exchanges)
    prompt: Text = read_text(prompt_cell, columns.prompt)
    candidates = [
        with_rate(read_candidate(cell, side, table, columns.folder), values, side)
        for cell, side in zip(cells, order, strict=True)
    ]
    texts = [candidate for candidate in candidates if isinstance(candidate, TEXT)]
    if len(texts) == len(candidates):
        prompt, texts = add_prompt_parts(*align_forms(prompt, texts), values)
        content_id = check_texts(prompt, texts, order)
        candidates = list(texts)
    elif texts:
        raise Drop(BAD_ROW, "one side is a text and the other a file")
    else:
        contents = [content_of(candidate, columns.folder or table.folder) for candidate in candidates]
        if contents[0] == contents[1]:
            raise Drop(IDENTICAL)
        content_id = digest(*content_parts(prompt), *contents)
    winner = columns.winners.column
    scores = scores_of(values, (*columns.sides, columns.prompt, winner, *VOTES.get(winner, ())))
    scores.setdefault("pair", {})["first_won"] = float(first_wins >= 0.5)
    if winner in STRENGTHS and (strength := as_number(values.get(winner))) is not None:
        scores["pair"][winner] = abs(strength)
    pair = Pair(
        id="",
        prompt=prompt,
        chosen=candidates[0],
        rejected=candidates[1],
        probability=max(first_wins, 1.0 - first_wins),
        scores=scores,
        source=row.source,
        group=group_of(values),
    )
    return replace(validate_pair(pair), id=ids.unique(row_id(values, content_id)))
