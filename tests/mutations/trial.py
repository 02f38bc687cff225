"""Hands faulty inputs to a function and counts what became of them: read, refused in a sentence, or a fault."""

import time
import traceback
import unicodedata
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from diffalign.errors import UserError

LONGEST_MESSAGE = 2_000
"""Characters of an error message that still reads as a sentence; the data's own text must be cut to fit."""


@dataclass
class Trial:
    """What became of the inputs of one kind.

    Args:
        kind: Plural, for the report: "recipes".
        read: Inputs that were accepted.
        refused: Messages by input, of those that were refused with a user's error.
        faults: Tracebacks and other faults by input.
    """

    kind: str
    read: list[str] = field(default_factory=list)
    refused: dict[str, str] = field(default_factory=dict)
    faults: dict[str, str] = field(default_factory=dict)

    @property
    def count(self) -> int:
        """Returns the number of inputs."""
        return len(self.read) + len(self.refused) + len(self.faults)

    def report(self, most: int = 5) -> str:
        """Returns the count, and the first ``most`` faults."""
        count = (
            f"{self.count} mutated {self.kind}: {len(self.read)} read, {len(self.refused)} refused in a sentence, "
            f"{len(self.faults)} faults"
        )
        return "\n\n".join([count, *(f"{name}\n{text}" for name, text in list(self.faults.items())[:most])])

    def check(self) -> None:
        """Prints the count. Fails where there are faults, or where every input was read: then nothing was mutated."""
        print(self.report(most=0))
        assert not self.faults, self.report()
        assert self.refused, f"none of {self.count} mutated {self.kind} was refused"


def try_all(
    kind: str,
    call: Callable[[Any], object],
    inputs: Iterable[tuple[str, Any]],
    errors: tuple[type[BaseException], ...] = (UserError,),
    seconds: float = 10.0,
) -> Trial:
    """Calls a function with every input.

    Args:
        kind: What the inputs are, in the plural, for the report.
        call: Takes one input. What it returns does not matter; it may do the whole of what a command does.
        inputs: Names and inputs, as :func:`~tests.mutations.mutated_bytes` yields them.
        errors: Exceptions that count as a refusal; their text must be short and printable.
        seconds: The time that one input may take.
    """
    trial = Trial(kind)
    for number, (name, given) in enumerate(inputs, 1):
        name = f"{number}: {name}"
        start = time.monotonic()
        try:
            call(given)
        except errors as error:
            trial.refused[name] = str(error)
            if fault := _fault_of_message(str(error)):
                del trial.refused[name]
                trial.faults[name] = fault
        except BaseException as error:  # noqa: BLE001  (a SystemExit or RecursionError is a fault as well)
            if isinstance(error, KeyboardInterrupt):
                raise
            trial.faults[name] = "".join(traceback.format_exception(error))[-3_000:]
        else:
            trial.read.append(name)
        if name not in trial.faults and time.monotonic() - start > seconds:
            trial.refused.pop(name, None)
            trial.faults[name] = f"took {time.monotonic() - start:.0f} seconds"
    return trial


def _fault_of_message(message: str) -> str:
    """Returns what is wrong with an error message, or an empty string."""
    if len(message) > LONGEST_MESSAGE:
        return f"a message of {len(message):,} characters: {message[:300]!r} ..."
    if not message.strip():
        return "an error without a message"
    strays = {c for c in message if unicodedata.category(c) in ("Cc", "Cs") and c not in "\n\t"}
    return f"control characters {sorted(strays)!r} in a message: {message[:300]!r}" if strays else ""
