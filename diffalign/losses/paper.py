"""A paper that a loss comes from, so that a run can be cited without a search."""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Paper:
    """A paper.

    Args:
        arxiv: Its number on arXiv.
        authors: Family names; three at most, then "others".
        year: Year of its first version.
        title: Its title.
    """

    arxiv: str
    authors: str
    year: int
    title: str

    @property
    def line(self) -> str:
        """Title and address."""
        return f"{self.title} (arxiv.org/abs/{self.arxiv})"

    def bibtex(self) -> str:
        """Returns an entry for a bibliography."""
        key = re.sub(r"\W", "", self.authors.split(" and ")[0].lower()) + str(self.year) + self.arxiv[-3:]
        title = self.title.replace("&", "\\&")
        return (
            f"@misc{{{key},\n  title = {{{title}}},\n  author = {{{self.authors}}},\n  year = {{{self.year}}},\n"
            f"  eprint = {{{self.arxiv}}},\n  archivePrefix = {{arXiv}}\n}}"
        )
