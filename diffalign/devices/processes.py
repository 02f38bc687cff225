"""Several processes of one command: each takes its share, one of them answers for all, and a lost one is an error in
plain words.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

from diffalign.errors import ConfigError, DataError, UserError

PHRASES = ("connection closed by peer", "connection reset by peer", "socket closed", "broken pipe", "nccl", "gloo")
"""Parts of the messages of torch's back ends, in lower case, when a process has gone."""
LONGEST_WAIT = timedelta(days=7)
"""How long a process waits for the others, whose share may take longer."""

T = TypeVar("T")


@dataclass(frozen=True)
class Processes:
    """The processes of a command that is no training: this one's number, and how it waits for the others.

    Args:
        rank: Number of this process, from 0.
        count: Number of processes.
        state: Accelerate's; None for one process.
    """

    rank: int = 0
    count: int = 1
    state: Any = None

    @property
    def is_main(self) -> bool:
        """Whether this process answers for all."""
        return self.rank == 0

    def share(self, parts: Sequence[T]) -> list[T]:
        """Returns every ``count``-th part, beginning with that of this process's number."""
        return list(parts[self.rank :: self.count])

    def blocks(self, parts: Sequence[T], size: int) -> list[T]:
        """Returns the parts of every ``count``-th block of ``size``, beginning with that of this process's number: what
        one process computes together stays together.
        """
        blocks = [parts[start : start + size] for start in range(0, len(parts), size)]
        return [part for block in blocks[self.rank :: self.count] for part in block]

    def together(self, compute: Callable[[], object]) -> None:
        """Calls ``compute`` on every process and waits for all of them.

        Raises:
            DataError: The call raised a user's error on some process; on that process it is that error.
        """
        error: UserError | None = None
        try:
            compute()
        except UserError as caught:
            error = caught
        messages = [None if error is None else str(error)]
        if self.state is not None:
            from accelerate.utils import gather_object

            messages = gather_object(messages)
        if error is not None:
            raise error
        if wrong := [message for message in messages if message is not None]:
            raise DataError(wrong[0])

    def wait(self) -> None:
        """Waits until all processes are here."""
        if self.state is not None:
            self.state.wait_for_everyone()

    def from_main(self, compute: Callable[[], Any]) -> Any:
        """Calls ``compute`` on the first process only and returns its result on every one, as :func:`from_main`."""
        return compute() if self.state is None else from_main(self.state, compute)

    def device(self, chosen: str = "") -> str:
        """Returns the device of this process: the chosen one; otherwise its own GPU, or the CPU without any."""
        if chosen:
            return chosen
        if self.state is not None:
            return str(self.state.device)
        import torch

        return "cuda" if torch.cuda.is_available() else "cpu"


ALONE = Processes()


def launched_processes() -> Processes:
    """Returns the processes that ``accelerate launch`` or torch's launcher started; :data:`ALONE` without one.

    Raises:
        ConfigError: The processes do not find each other.
    """
    launched = int(os.environ.get("WORLD_SIZE", 1))
    if launched == 1:
        return ALONE
    import torch
    from accelerate import PartialState
    from accelerate.utils import parse_flag_from_env

    on_cpu = parse_flag_from_env("ACCELERATE_USE_CPU") or not torch.accelerator.is_available()
    state = PartialState(cpu=on_cpu, timeout=LONGEST_WAIT)
    check_all_found(state)
    return Processes(state.process_index, state.num_processes, state)


def check_all_found(state: Any) -> None:
    """Raises ConfigError where accelerate found fewer processes than were launched: each would work on its own, and
    overwrite the files of the others.
    """
    launched = int(os.environ.get("WORLD_SIZE", 1))
    if launched > state.num_processes:
        raise ConfigError(
            f"{launched} processes were launched, but this one finds {state.num_processes}: on a machine without a GPU "
            "accelerate connects processes only on request. Set the environment: ACCELERATE_USE_CPU=true"
        )


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
