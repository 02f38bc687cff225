"""Ctrl-C, SIGTERM and SIGUSR1: the step is finished, a checkpoint is written, and the run says how it goes on.

Within a step a first signal is only noted. Parts that may be dropped, because they store what they have piece by piece
or can be repeated (opening, encoding, rounds, previews, the comparison), are left at once. A second Ctrl-C leaves
everything at once, and the run goes on from its last checkpoint.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any

import torch

from diffalign.errors import RunError

SAME_KEY = 1.0
"""Seconds in which a second signal to one of several processes counts as the first one: a launcher sends it again."""


NOTICE = getattr(signal, "SIGUSR1", None)
"""The signal by which a batch system says that a run will lose its machine; Windows has none."""
TRY_AGAIN = 75
"""Exit status of a run that such a notice stopped: started again with --resume it goes on (EX_TEMPFAIL)."""


class Stopped(RunError):
    """A run that a signal stopped. The command line exits with ``exit_code``: 130 after Ctrl-C, 143 after SIGTERM, and
    75 ("try again later", ``EX_TEMPFAIL``) after SIGUSR1, by which a batch system says that it needs the machine.
    """

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class StopNow(BaseException):
    """Leaves the present part of a run. Not an ``Exception``: nothing on its way may take it for a failure.

    Args:
        agreed: Whether all processes leave between the same two steps.
    """

    def __init__(self, agreed: bool = False) -> None:
        super().__init__()
        self.agreed = agreed


class StopSignals:
    """The signals that this process has received since a run began."""

    def __init__(self) -> None:
        self.received: int | None = None
        self.at_once = False
        self.leaving = False  # StopNow was raised; a library may have made another error of it on its way
        self._droppable = 0
        self._since = 0.0

    def handle(self, number: int, frame: FrameType | None) -> None:
        """Notes a signal; raises StopNow where the present part may be dropped, and for a second Ctrl-C."""
        if self.received is None:
            self.received, self._since = number, time.monotonic()
            _say("stopping after this step; press Ctrl-C again to stop at once" if not self._droppable else "stopping")
            if self._droppable:
                self.leaving = True
                raise StopNow
        elif number == signal.SIGINT and not self._is_repeated():
            self.at_once = self.leaving = True
            signal.signal(signal.SIGINT, signal.SIG_DFL)  # a third one ends the process
            raise StopNow

    @contextmanager
    def droppable(self, where: bool = True) -> Iterator[None]:
        """Within this block a signal stops at once, with nothing lost. ``where`` False changes nothing."""
        if not where:
            yield
            return
        if self.received is not None:
            raise StopNow
        self._droppable += 1
        try:
            yield
        except Exception:
            if self.leaving:
                raise StopNow from None
            raise
        finally:
            self._droppable -= 1

    def agreed(self, accelerator: Any) -> bool:
        """Returns whether any process received a signal. All call it between the same two steps."""
        if accelerator.num_processes > 1:
            own = torch.tensor([self.received or 0], device=accelerator.device)
            self.received = int(accelerator.gather(own).max()) or None
        return self.received is not None

    @property
    def exit_code(self) -> int:
        """The exit status that shells give a process which such a signal ended: 130 for Ctrl-C, 143 for SIGTERM. After
        a notice it is :data:`TRY_AGAIN`.
        """
        return TRY_AGAIN if self.received == NOTICE else 128 + (self.received or signal.SIGTERM)

    def _is_repeated(self) -> bool:
        return int(os.environ.get("WORLD_SIZE", 1)) > 1 and time.monotonic() - self._since < SAME_KEY


_active: StopSignals | None = None


@contextmanager
def stop_signals() -> Iterator[StopSignals]:
    """Handles Ctrl-C, SIGTERM and SIGUSR1 within this block. A block inside it has the same signals.

    Python calls handlers in the main thread only; elsewhere signals keep their usual effect.
    """
    global _active
    if _active is not None:
        yield _active
        return
    signals = StopSignals()
    if threading.current_thread() is not threading.main_thread():
        yield signals
        return
    numbers = [signal.SIGINT, signal.SIGTERM, *([] if NOTICE is None else [NOTICE])]
    before = {number: signal.signal(number, signals.handle) for number in numbers}
    _active = signals
    try:
        yield signals
    finally:
        _active = None
        for number, handler in before.items():
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)


def _say(text: str) -> None:
    """Prints from a signal handler, where the buffers of ``sys.stderr`` may be in use."""
    if os.environ.get("RANK", "0") == "0":
        with suppress(OSError):
            os.write(2, f"\n{text}\n".encode())
