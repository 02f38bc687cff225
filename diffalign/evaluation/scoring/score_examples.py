"""One pass over examples with several scorers: each sample is decoded once and handed to all of them.

Batches are the same parts of the data whatever was done before and however many processes share them, so that the
scores are too. Only the samples of a batch are in memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import islice

from diffalign.devices.processes import ALONE, Processes
from diffalign.evaluation.scoring.decode_once import decoded_parts
from diffalign.evaluation.scoring.example import Example, Examples
from diffalign.evaluation.scoring.score_log import ScoreLog

Progress = Callable[[str, int, int], None]


def score_examples(
    examples: Examples,
    logs: Sequence[ScoreLog],
    medium: str,
    *,
    batch: int,
    what: str,
    processes: Processes = ALONE,
    progress: Progress | None = None,
) -> None:
    """Scores the examples that a scorer lacks; each process a share, the first has the scores of all when this returns.

    Args:
        examples: What is scored.
        logs: The scorers' scores so far, with those of earlier calls; gain the new ones.
        medium: Medium of the samples.
        batch: Examples scored at once.
        what: Noun for progress, such as ``"images scored"``.
        processes: The processes that share the work.
        progress: ``progress(what, done, total)``, in examples; of several processes each reports its share.
    """
    processes.wait()  # all have read the scores of earlier calls before one adds to them
    mine = set(processes.share(sorted({int(number) // batch for log in logs for number in log.missing()})))
    own = sum(min(batch, len(examples) - number * batch) for number in mine)
    total = len(examples) if processes.count == 1 else own
    done = total - own
    for number, part in enumerate(_batches(examples, batch)):
        if number not in mine:
            continue
        _score_batch(number * batch, part, logs, medium)
        done += len(part)
        if progress is not None:
            progress(what, done, total)
    processes.wait()
    if processes.count > 1 and processes.is_main:
        for log in logs:
            log.read(examples)


def _batches(examples: Examples, size: int) -> Iterator[list[Example]]:
    rows = iter(examples)
    while part := list(islice(rows, size)):
        yield part


def _score_batch(start: int, part: Sequence[Example], logs: Sequence[ScoreLog], medium: str) -> None:
    rows = {log: [(n, example) for n, example in enumerate(part, start) if log.is_missing(n)] for log in logs}
    unknown = {
        log: log.unknown([side for _, example in rows[log] if not example.problem for side in example.sides])
        for log in logs
    }
    sides = list(dict.fromkeys(side for log in logs for side in unknown[log]))
    for contents in decoded_parts(sides, medium):
        for log in logs:
            log.score({side: contents[side] for side in unknown[log] if side in contents})
    for log in logs:
        log.add([(n, example.id, example.sides, example.problem) for n, example in rows[log]])
