"""The links of docs/one-step.md to lines of code; ``python -m tests.one_step`` writes the present files and line
numbers."""

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


def where(link: Link) -> Link:
    """Returns the link with the present file and line of its name; unchanged where it is ambiguous or undefined."""
    paths = [link.path, *sorted(str(path.relative_to(ROOT)) for path in (ROOT / "diffalign").rglob("*.py"))]
    found = [path for path in dict.fromkeys(paths) if link.name in definitions(path)]
    if found and (found[0] == link.path or len(found) == 1):
        return Link(link.name, found[0], definitions(found[0])[link.name])
    print(f"{link.path} does not define {link.name}, but {' and '.join(found) or 'no file'}; change the link by hand")
    return link


def write_links() -> None:
    """Writes the present files and line numbers into the page."""

    def updated(match: re.Match[str]) -> str:
        link = where(Link(match["name"], match["path"], int(match["line"])))
        return f"[`{link.name}`](../{link.path}#L{link.line})"

    PAGE.write_text(LINK.sub(updated, PAGE.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    write_links()
