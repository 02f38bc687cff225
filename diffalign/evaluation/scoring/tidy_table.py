"""The table of scores of single samples: a row for each sample and scorer, each of which says what its number is.

    sample       prompt              scorer     score  unit   weights  preprocessing               error
    fox-s0.png   a fox in the snow   pickscore  21.5   logit  9c1f...  224 shortest bicubic, ...
    owl-s0.png   an owl              pickscore         logit  9c1f...  224 shortest bicubic, ...   'owl-s0.png' can...

As JSON lines, CSV or parquet, by the ending of the name; `pandas.read_json(path, lines=True)`, `read_csv` and
`read_parquet` take it as it is. A sample that could not be scored has no score, and says why. In CSV a text that begins
like a formula has an apostrophe before it (:mod:`~diffalign.files.spreadsheet_text`).
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from diffalign.data.readers.tables import Table, suffix_of
from diffalign.data.records.conversation import Conversation
from diffalign.errors import UserError
from diffalign.evaluation.scoring.example import Examples
from diffalign.evaluation.scoring.score_log import ScoreLog
from diffalign.files.atomic import write_atomically
from diffalign.files.json_lines import json_line
from diffalign.files.spreadsheet_text import from_cell, to_cell

COLUMNS = ("sample", "prompt", "scorer", "score", "unit", "weights", "preprocessing", "error")
SUFFIXES = (".jsonl", ".csv", ".parquet")
_GROUP = 4096

Row = Mapping[str, Any]


def check_suffix(path: Path) -> None:
    """Raises UserError for a name that no table of scores can have."""
    if path.is_dir() or suffix_of(path) not in SUFFIXES:
        raise UserError(f"--output of scores is a file that ends in {', '.join(SUFFIXES)}; got '{path}'.")


def check_earlier(path: Path) -> None:
    """Raises UserError for a file that is no table of scores: it would be replaced."""
    if path.is_file() and not {"sample", "scorer", "score"} <= set(Table(path).columns):
        raise UserError(f"{path} is no table of scores, and would be replaced. Give another file with --output.")


def write_tidy(path: Path, examples: Examples, logs: Iterable[ScoreLog]) -> Path:
    """Writes the scores of all samples; rows of other scorers that the table has already stay, before them.

    Raises:
        UserError: The file exists and is no table of scores, or its name has another ending.
    """
    logs = list(logs)
    check_suffix(path)
    check_earlier(path)
    write = {".jsonl": _write_json, ".csv": _write_csv, ".parquet": _write_parquet}[suffix_of(path)]
    return write_atomically(path, lambda temporary: write(temporary, _rows(path, examples, logs)))


def _rows(path: Path, examples: Examples, logs: list[ScoreLog]) -> Iterator[Row]:
    new = {log.spec for log in logs}
    if path.is_file():
        for row in Table(path).rows():
            if row.values.get("scorer") not in new and not row.problem:
                yield {name: _earlier(row.values.get(name), suffix_of(path)) for name in COLUMNS}
    for log in logs:
        for number, example in enumerate(examples):
            prompt = example.sides[0][0] if example.sides and example.has_prompt else None
            yield {
                "sample": example.name,
                "prompt": prompt.rows() if isinstance(prompt, Conversation) else prompt,
                "score": None if log.is_missing(number) else float(log.values[number, 0]),
                "error": log.problems.get(number),
                **log.head,
            }


def _earlier(value: Any, suffix: str) -> Any:
    """Returns a cell of an earlier table, as it was before it was written."""
    if suffix == ".csv" and isinstance(value, str):
        value = from_cell(value)
    return None if value == "" else value


def _write_json(path: Path, rows: Iterator[Row]) -> None:
    with path.open("w", encoding="utf-8", newline="\n") as file:
        for row in rows:
            file.write(json_line({name: row[name] for name in COLUMNS if name != "error" or row[name]}))


def _write_csv(path: Path, rows: Iterator[Row]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        table = csv.DictWriter(file, COLUMNS)
        table.writeheader()
        for row in map(_flat, rows):
            texts = {name: to_cell(cell) for name, cell in row.items() if isinstance(cell, str) and name != "score"}
            table.writerow({**row, **texts})


def _write_parquet(path: Path, rows: Iterator[Row]) -> None:
    import pyarrow
    from pyarrow.parquet import ParquetWriter

    schema = pyarrow.schema([(name, pyarrow.float64() if name == "score" else pyarrow.string()) for name in COLUMNS])
    with ParquetWriter(path, schema) as writer:
        while group := list(islice(rows, _GROUP)):
            writer.write_table(pyarrow.Table.from_pylist([_flat(row) for row in group], schema=schema))


def _flat(row: Row) -> dict[str, Any]:
    """Returns a row with the turns of a chat as JSON."""
    prompt = row["prompt"]
    return {**row, "prompt": json.dumps(prompt, ensure_ascii=False) if isinstance(prompt, list) else prompt}
