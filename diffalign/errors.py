"""Errors for users. Each message has the value that was given, the expected one, and what to type next."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from diffalign.printable import printable

LONGEST = 1600
"""Characters of a message; of a longer one, which quotes a long value, the middle is left out."""


class UserError(Exception):
    """An error that the user can fix. The command line prints it without a traceback and exits with 2.

    Whatever the message quotes, it is printable and of bounded length.
    """

    def __init__(self, message: object = "") -> None:
        super().__init__(printable(str(message), LONGEST))


class ConfigError(UserError):
    """A recipe or an option that cannot be followed."""


class DataError(UserError):
    """Data that cannot be read or cannot be trained on."""


class RunError(UserError):
    """A run that cannot start, continue or be resumed."""


def near_miss(given: str, known: Iterable[str]) -> str:
    """Returns ``" Did you mean 'x'?"`` for the closest known name, or an empty string when nothing is close."""
    close = difflib.get_close_matches(given[:100], list(known), n=1, cutoff=0.6)
    return f" Did you mean '{close[0]}'?" if close and close[0] != given else ""
