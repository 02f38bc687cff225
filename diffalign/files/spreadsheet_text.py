"""Texts in CSV tables, which spreadsheets open: one that begins like a formula gets an apostrophe before it.

    text           cell
    =1+1           '=1+1
    '=1+1          ''=1+1
    a fox          a fox

A spreadsheet would compute the first line instead of showing it. Apostrophes before a formula's first letter are
doubled as well, so that every text reads back exactly.
"""

from __future__ import annotations

FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
"""Letters after which a spreadsheet computes."""
MARK = "'"


def to_cell(text: str) -> str:
    """Returns a text as a cell that no spreadsheet computes."""
    return MARK + text if text.lstrip(MARK).startswith(FORMULA) else text


def from_cell(cell: str) -> str:
    """Returns the text of a cell that :func:`to_cell` returned."""
    return cell[1:] if cell.startswith(MARK) and cell.lstrip(MARK).startswith(FORMULA) else cell
