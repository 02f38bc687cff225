"""Commands in two processes on one machine, as a launcher starts them: ``python -m tests.two_processes COMMANDS``."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

PROCESSES = 2


def in_two_processes(*commands: Sequence[Any]) -> list[tuple[list[int], list[str]]]:
    """Runs commands of ``diffalign``, one after the other, each in two processes.

    Returns:
        For each command the exit status of each process, and what each printed.
    """
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "ACCELERATE_USE_CPU": "true"}
    texts = json.dumps([[str(argument) for argument in command] for command in commands])
    command = [sys.executable, "-m", "tests.two_processes", texts]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=280)
    assert done.returncode == 0, done.stderr[-3000:]
    return [tuple(json.loads(line)) for line in done.stdout.splitlines()]


def main(commands: list[list[str]]) -> None:
    """Forks two children for each command and prints their exit statuses and outputs."""
    import accelerate  # noqa: F401  (imported once, before the children are made)

    import diffalign.cli  # noqa: F401

    for command in commands:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = str(free.getsockname()[1])
        os.environ |= {"WORLD_SIZE": str(PROCESSES), "LOCAL_WORLD_SIZE": str(PROCESSES)}
        os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        children, readers = [], []
        for rank in range(PROCESSES):
            reader, writer = os.pipe()
            child = os.fork()
            if not child:
                os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank)}
                os.dup2(writer, 1)
                os.dup2(writer, 2)
                _run(command)
            os.close(writer)
            children.append(child)
            readers.append(reader)
        outputs = [os.fdopen(reader, encoding="utf-8").read() for reader in readers]
        statuses = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
        print(json.dumps([statuses, outputs]), flush=True)


def _run(command: list[str]) -> None:
    from diffalign.cli.app import run

    sys.argv = ["diffalign", *command]
    status = 1
    try:
        run()
        status = 0
    except SystemExit as stop:
        status = int(stop.code or 0)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
