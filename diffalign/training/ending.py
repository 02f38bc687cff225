"""How a run ends before its last step: stopped by a signal, or because another of its processes has gone."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from diffalign.devices.processes import is_lost_process
from diffalign.errors import RunError
from diffalign.training.state import Run
from diffalign.training.stop import StopNow, Stopped, StopSignals
from diffalign.training.storage.run_folder import RunFolder, last_step


@contextmanager
def explain_end(output: RunFolder, stop: StopSignals) -> Iterator[None]:
    """Turns a stop and the loss of another process into errors that say how the run goes on."""
    several = int(os.environ.get("WORLD_SIZE", 1)) > 1
    try:
        yield
    except StopNow:
        raise stopped(output, stop) from None
    except Stopped:
        raise
    except Exception as error:
        if stop.leaving:  # a library made an error of its own of StopNow
            raise stopped(output, stop) from None
        if not several or not isinstance(error, RuntimeError | OSError) or not is_lost_process(error):
            raise
        if stop.received is not None:  # the other process was stopped by the same signal, and left first
            raise stopped(output, stop) from None
        raise RunError(
            "another process of this run has gone, so this one cannot go on. Look at what that process printed, then "
            f"start all of them again with --resume: the run goes on from step {last_step(output)}."
        ) from error


@contextmanager
def saved_when_stopped(run: Run, stop: StopSignals) -> Iterator[None]:
    """Writes a checkpoint when a stop leaves the block, unless the last one is of this step, the step is unfinished,
    the run must not go back to it, or other processes do not take part.
    """
    try:
        yield
    except StopNow as stopping:
        together = run.accelerator.num_processes == 1 or stopping.agreed
        if together and not (stop.at_once or run.guard.streak or run.saved_step == run.step):
            with suppress(StopNow):  # a second Ctrl-C
                run.save(extra=True)
        raise


def stopped(output: RunFolder, stop: StopSignals) -> Stopped:
    """Returns the error of a run that a signal stopped."""
    message = "stopped before the first step; nothing was trained, so start again"
    if output.is_claimed:
        message = f"stopped at step {last_step(output)}; go on with --resume"
    return Stopped(message, stop.exit_code)
