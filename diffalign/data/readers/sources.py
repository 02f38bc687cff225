"""Opens the tables of one split of a source: a file, a folder or a Hub id."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from diffalign.data.readers.tables import SUFFIXES, Table, suffix_of
from diffalign.data.records.score_table import is_score_file
from diffalign.errors import DataError, near_miss

SPLITS = {"train": "train", "training": "train", "validation": "validation", "valid": "validation", "val": "validation"}
SPLITS |= {"dev": "validation", "test": "test", "eval": "test"}
SPLITS |= {f"{split}_{part}": f"{split}_{part}" for split in ("train", "test") for part in ("prefs", "sft", "gen")}
SPLITS |= {"validation_unique": "validation_unique", "test_unique": "test_unique"}

Columns = Mapping[str, str | Sequence[str]]
"""``{the name that the format expects: its name in the file, or the names of the columns that are joined to it}``."""

MADE = ("pairs.jsonl", "made_by.json")
"""Files of a folder that `diffalign data make` wrote, of which the first holds the pairs; ``metadata.jsonl`` beside
them names every sample on its own."""

_SPLIT_NAME = re.compile(rf"^({'|'.join(sorted(SPLITS, key=len, reverse=True))})(?=$|[-.]|_\d)")
_HUB_ID = re.compile(r"^[\w.-]+/[\w.-]+$")


def open_tables(
    source: str | Path, *, split: str = "train", revision: str | None = None, columns: Columns | None = None
) -> list[Table]:
    """Returns the tables of ``source``.

    Args:
        source: A table file; a folder (the pairs that `diffalign data make` made in it; otherwise its
            ``metadata.*``, otherwise its parquet, Arrow or text tables, also under
            ``data/``); or the id of a data set on the Hub, ``"owner/name"``.
        split: Where files are named after splits, only this one is read, so that a test split is never trained on.
            A file that ``source`` names itself is always read.
        revision: The commit or tag of a Hub data set.
        columns: ``{the name that the format expects: the column's name in the file}``; a list of names stands for
            their texts, joined by an empty line.

    Raises:
        DataError: The source does not exist, holds no table, or has no such split.
    """
    rename, joins = _parse_columns(columns or {})
    path = Path(source).expanduser()
    if path.is_file():
        files = [path]
        if suffix_of(path) not in SUFFIXES:
            raise DataError(f"'{source}' is not a table. Expected a folder or one of {', '.join(SUFFIXES)}.")
    elif path.is_dir():
        files = _select_split(path, _tables_in(path), split)
    elif _HUB_ID.match(str(source)) and not str(source).startswith(".") and suffix_of(path) not in SUFFIXES:
        files = hub_files(str(source), split=split, revision=revision)
    else:
        siblings = [entry.name for entry in path.parent.iterdir()] if path.parent.is_dir() else []
        raise DataError(
            f"there is no data at '{source}'.{near_miss(path.name, siblings)} "
            "Expected a file, a folder or a Hub id like 'owner/name'."
        )
    return [Table(file, rename, joins) for file in files]


def _parse_columns(columns: Columns) -> tuple[dict[str, str], dict[str, tuple[str, ...]]]:
    """Returns new names by names in the file, and the columns to join by their new name."""
    rename, joins = dict[str, str](), dict[str, tuple[str, ...]]()
    if not isinstance(columns, Mapping):
        raise DataError(
            f"columns gives each expected name its name in the file: {{prompt: question}}; got {columns!r}."
        )
    for expected, names in columns.items():
        if isinstance(names, str):
            rename[names] = expected
        elif isinstance(names, Sequence) and names and all(isinstance(name, str) for name in names):
            joins[expected] = tuple(names)
        else:
            raise DataError(f"columns: '{expected}' must be a column's name or a list of them to join; got {names!r}.")
    return rename, joins


def hub_files(name: str, *, split: str = "train", revision: str | None = None) -> list[Path]:
    """Downloads a split of a Hub data set and returns its memory-mapped Arrow files.

    Raises:
        DataError: The data set or split does not exist, needs a login, or cannot be reached.
    """
    import datasets

    if "[" in split or "+" in split:
        raise DataError(f"the split '{split}' is an expression; name one split, and use `limit` to read fewer pairs.")
    try:
        loaded = datasets.load_dataset(name, split=split, revision=revision, streaming=False)
    except Exception as error:  # the loader raises errors of a dozen libraries
        advice = "Check the id and the split, log in with `hf auth login` if it is gated, or give a downloaded folder."
        if "scripts are no longer supported" in str(error):
            advice = "It is a loader script, which `datasets` no longer runs: download its files and give the folder."
        raise DataError(
            f"'{name}' (split '{split}') is no local path and cannot be loaded from the Hub: {error}. {advice}"
        ) from error
    return [Path(entry["filename"]) for entry in loaded.cache_files]


def _tables_in(folder: Path) -> list[Path]:
    if all((folder / name).is_file() for name in MADE):
        return [folder / MADE[0]]
    for patterns in (("metadata.*",), ("*/metadata.*",), ("*", "data/*", "*/*")):
        paths = (path for pattern in patterns for path in sorted(folder.glob(pattern)))
        tables = [path for path in paths if path.is_file() and _is_table(path) and not is_score_file(path, folder)]
        for suffix in SUFFIXES:  # one suffix only: a folder may hold the same rows twice, in two formats
            if with_suffix := list(dict.fromkeys(path for path in tables if suffix_of(path) == suffix)):
                return with_suffix
    raise DataError(
        f"the folder '{folder}' holds no table. Expected metadata.jsonl, *.parquet or another of {', '.join(SUFFIXES)}."
    )


def _is_table(path: Path) -> bool:
    metadata = ("dataset_info.json", "state.json", "dataset_infos.json", "dataset_dict.json")
    return suffix_of(path) in SUFFIXES and path.name not in metadata and not path.name.startswith(".")


def _select_split(root: Path, files: list[Path], split: str) -> list[Path]:
    by_split: dict[str, list[Path]] = {}
    for file in files:
        for part in reversed(file.relative_to(root).parts):
            match = _SPLIT_NAME.match(part)
            if match:
                by_split.setdefault(SPLITS[match.group(1)], []).append(file)
                break
    if not by_split:
        return files
    if split not in by_split:
        raise DataError(
            f"'{root}' has no split '{split}'.{near_miss(split, by_split)} Splits there: {', '.join(sorted(by_split))}."
        )
    return by_split[split]
