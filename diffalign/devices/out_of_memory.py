"""Out of memory, on any device, as one sentence with advice."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from diffalign.errors import RunError

PHRASES = ("out of memory", "can't allocate memory", "cannot allocate memory", "alloc_failed", "not enough memory")
"""Parts of the messages of torch's CPU allocator, of CUDA's libraries and of Apple's devices, in lower case."""


def is_out_of_memory(error: BaseException) -> bool:
    """Returns whether an error says that memory of a device or of the machine is used up.

    torch raises a class of its own only for the allocator of an accelerator: on a CPU it is a plain ``RuntimeError``.
    """
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    return isinstance(error, RuntimeError) and any(phrase in str(error).lower() for phrase in PHRASES)


@contextmanager
def explain_out_of_memory(what: str, advice: str) -> Iterator[None]:
    """Raises RunError in place of an error that says that memory is used up.

    Args:
        what: What was being done, after "while": "pairs are encoded".
        advice: What to type next, a sentence without its full stop.
    """
    try:
        yield
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        raise RunError(f"out of memory while {what}. {advice}.") from error
