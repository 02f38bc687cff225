"""Progress of a long command as one line of a terminal."""

from __future__ import annotations

import sys

from diffalign.printable import one_line


def show_progress(what: str, done: int, total: int) -> None:
    """Prints a counter to stderr if it is a terminal."""
    if sys.stderr.isatty():
        print(f"\r{one_line(what)}: {done} of {total}", end="\n" if done == total else "", file=sys.stderr, flush=True)
