"""Several processes of one run: one of them answers for all, and a lost one is an error in plain words."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from diffalign.errors import DataError, UserError

PHRASES = ("connection closed by peer", "connection reset by peer", "socket closed", "broken pipe", "nccl", "gloo")
"""Parts of the messages of torch's back ends, in lower case, when a process has gone."""


def is_lost_process(error: Exception) -> bool:
    """Returns whether an error says that another process of the run is gone, or does not answer."""
    if type(error).__name__.startswith("Dist") and isinstance(error, RuntimeError):
        return True
    return isinstance(error, (RuntimeError, OSError)) and any(phrase in str(error).lower() for phrase in PHRASES)


def from_main(accelerator: Any, compute: Callable[[], Any]) -> Any:
    """Calls ``compute`` on the first process only and returns its result on every one.

    Raises:
        DataError: The call raised a user's error; on the first process it is that error.
    """
    if accelerator.num_processes == 1:
        return compute()
    from accelerate.utils import broadcast_object_list

    error: UserError | None = None
    answer: list[Any] = [None, None]
    if accelerator.is_main_process:
        try:
            answer[0] = compute()
        except UserError as caught:
            error, answer[1] = caught, str(caught)
    broadcast_object_list(answer)
    if answer[1] is not None:
        raise error or DataError(answer[1])
    return answer[0]
