"""The links of docs/one-step.md to lines of code; ``python -m tests.one_step`` writes the present line numbers."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "one-step.md"
LINK = re.compile(r"\[`(?P<name>[\w.]+)`\]\(\.\./(?P<path>[\w./]+)#L(?P<line>\d+)\)")


class Link(NamedTuple):
    """A link of the page: the qualified name of a function or class, its file, and the line that is linked."""

    name: str
    path: str
    line: int


def links() -> list[Link]:
    """Returns all links of the page."""
    return [Link(m["name"], m["path"], int(m["line"])) for m in LINK.finditer(PAGE.read_text(encoding="utf-8"))]


@cache
def definitions(path: str) -> dict[str, int]:
    """Returns the line of each ``def`` and ``class`` in a file, by qualified name such as ``Metrics.add``."""
    lines: dict[str, int] = {}
    if not (ROOT / path).exists():
        return lines

    def visit(node: ast.AST, prefix: str) -> None:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, (ast.FunctionDef, ast.ClassDef)):
                lines[prefix + child.name] = child.lineno
                visit(child, f"{prefix}{child.name}.")

    visit(ast.parse((ROOT / path).read_text(encoding="utf-8")), "")
    return lines


def write_lines() -> None:
    """Writes the present line numbers into the page."""

    def updated(match: re.Match[str]) -> str:
        line = definitions(match["path"]).get(match["name"])
        if line is None:
            print(f"{match['path']} does not define {match['name']}; link where it is now")
            return match[0]
        return f"[`{match['name']}`](../{match['path']}#L{line})"

    PAGE.write_text(LINK.sub(updated, PAGE.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    write_lines()
