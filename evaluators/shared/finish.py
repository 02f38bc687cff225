"""The end of a program: tables on the terminal, ``table.md``, ``results.json`` and ``report.html``."""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from diffalign.evaluation.report.clip_examples import MOST_CLIPS, clip_examples
from diffalign.evaluation.report.sheet import Example
from diffalign.evaluation.report.write import TEMPLATES
from diffalign.evaluation.samples.medium import find_medium
from diffalign.files.atomic import write_atomically
from diffalign.printable import printable
from diffalign.sharing.public_name import public_name
from evaluators.shared.sides import Sides
from evaluators.shared.table import Table, show_cell

_PATH = re.compile(r"/[^\s:=,]*/[^\s:=,]*")
"""A path with a folder in a value, such as that of ``@suite:NAME:FILE``."""
SHOWN = 9
"""Prompts on a page of images or texts."""


def finish(
    args: argparse.Namespace,
    title: str,
    tables: Sequence[Table],
    *,
    about: Mapping[str, Any] | None = None,
    sides: Sides | None = None,
    medium: str = "image",
) -> list[Table]:
    """Prints and writes the results.

    Args:
        args: The program's options.
        title: Name of the protocol.
        tables: At least one.
        about: Further rows of settings: versions, hashes, files.
        sides: Samples to show, evenly spaced over the prompts.
        medium: Medium of the samples.
    """
    settings = {**_settings(args), **{key: printable(_shown(value)) for key, value in (about or {}).items()}}
    text = "\n\n".join(table.text() for table in tables) + "\n"
    content = {"protocol": title, "tables": [table.to_json() for table in tables], "settings": settings}
    lines = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    page = _page(title, tables, settings, args.needs, _examples(sides or {}, medium), medium)
    for name, written in (("table.md", text), ("results.json", lines), ("report.html", page)):
        _write(args.output / name, written)
    print(f"\n{text}\nreport: {args.output / 'report.html'}", flush=True)
    return list(tables)


def _write(path: Path, text: str) -> None:
    write_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def _page(
    title: str,
    tables: Sequence[Table],
    settings: Mapping[str, str],
    needs: Sequence[str],
    examples: Sequence[Example],
    medium: str,
) -> str:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    row = find_medium(medium)
    folders = [Path(__file__).parent, TEMPLATES]  # the style is that of the other reports
    loader = FileSystemLoader([str(folder) for folder in folders])
    environment = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters.update(cell=show_cell, show=row.show)
    clips, notes = clip_examples(examples) if row.plays else ([], [])
    return environment.get_template("page.html.j2").render(
        title=title,
        tables=tables,
        settings=settings,
        needs=needs,
        examples=[] if row.plays else examples,
        clips=clips,
        notes=notes,
        medium=row,
    )


def _examples(sides: Sides, medium: str) -> list[Example]:
    """Returns the first sample of evenly spaced prompts, of the base beside the aligned model where there are two."""
    if not sides:
        return []
    galleries = list(sides.values())
    read = find_medium(medium).read
    firsts = [{sample.prompt: sample for sample in reversed(gallery.samples)} for gallery in galleries]
    prompts = list(dict.fromkeys(sample.prompt for sample in galleries[-1].samples))
    count = min(MOST_CLIPS // 4 if find_medium(medium).plays else SHOWN, len(prompts))
    picked = [prompts[number * len(prompts) // count] for number in range(count)]
    return [
        Example(
            prompt,
            [read(firsts[0][prompt].path)] if len(galleries) > 1 else [],
            [read(firsts[-1][prompt].path)],
            f"seed {firsts[-1][prompt].seed}",
        )
        for prompt in picked
    ]


def _settings(args: argparse.Namespace) -> dict[str, str]:
    """Returns the options as text; local paths are shown by their last part."""
    hidden = {"needs", "default_scorer", "judges_pairs", "output"}
    values = {key: value for key, value in vars(args).items() if key not in hidden and value not in (None, "", [], 0)}
    listed = {key: value if isinstance(value, list) else [value] for key, value in values.items()}
    return {key: printable(", ".join(map(_shown, value))) for key, value in listed.items()}


def _shown(value: Any) -> str:
    return _PATH.sub(lambda path: public_name(path[0]), str(value))
