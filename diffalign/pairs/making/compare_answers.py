"""Comparisons of a prompt's answers by a judge: all with each other, or the matches of a tournament.

A judge's verdicts are appended to ``comparisons.jsonl.part`` in the folder of the samples prompt by prompt, so a killed
call resumes. Each process compares the answers of its share of the prompts, and writes a file of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from diffalign.data.records.progress_file import ProgressFile
from diffalign.devices.processes import Processes
from diffalign.errors import DataError
from diffalign.evaluation.scoring.decode_once import decode
from diffalign.evaluation.scoring.score_log import identity
from diffalign.pairs.making.prompt_samples import PromptSamples
from diffalign.pairs.making.tournament import Match, play_tournament
from diffalign.policies.policy import Progress
from diffalign.scorers.compare import compare
from diffalign.scorers.scorer import Scorer

COMPARISONS = "comparisons.jsonl"


Order = Callable[[str], np.random.Generator]
"""Returns the draw of a prompt's standing in a tournament."""


def compare_answers(
    judge: Scorer,
    prompts: Sequence[PromptSamples],
    folder: Path,
    order: Order | None,
    processes: Processes,
    progress: Progress | None = None,
) -> tuple[dict[str, np.ndarray], Callable[[], None]]:
    """Compares the answers of each prompt.

    Args:
        judge: Compares two samples.
        prompts: The answers by prompt.
        folder: Gets the progress files.
        order: For a tournament, the draw of a prompt's standing; None: all answers meet.
        processes: The processes that share the prompts; the first has the verdicts of all when this returns.
        progress: ``progress(what, done, total)``.

    Returns:
        By key of a prompt's samples the probabilities ``(n, n)`` that the row beats the column, NaN for answers that
        did not meet; and a function that removes the progress files.
    """
    made_by = {"judge": judge.name, **identity(judge), "matches": "all" if order is None else "tournament"}
    targets = [folder / (COMPARISONS + (f"-{rank}" if rank else "")) for rank in range(processes.count)]
    files = [ProgressFile(target, made_by) for target in targets]
    processes.wait()
    known = {key for file in files for key in file.rows}
    own, mine = files[processes.rank], [item for item in processes.share(prompts) if item.key not in known]
    total = len(prompts) if processes.count == 1 else len(mine)
    for done, item in enumerate(mine, total - len(mine) + 1):
        contents = [decode(content, judge.medium) for content in item.contents]
        random = None if order is None else order(item.prompt)
        own.add({item.key: {"wins": meet(judge, item.prompt, contents, random)}})
        if progress is not None:
            progress("prompts compared", done, total)
    processes.wait()
    if processes.count > 1:  # what the others found meanwhile
        files = [ProgressFile(target, made_by) for target in targets]
    rows = {key: row for file in files for key, row in file.rows.items()}
    processes.wait()

    def remove() -> None:
        for file in files:
            file.remove()

    found = {item.key: win_matrix(rows[item.key]["wins"], len(item.contents)) for item in prompts if item.key in rows}
    return found, remove


def meet(judge: Scorer, prompt: str, contents: Sequence[Any], random: np.random.Generator | None) -> list[list[float]]:
    """Returns ``[i, j, probability that i beats j]`` for each comparison of a prompt's answers.

    Args:
        judge: Compares two samples.
        prompt: The prompt.
        contents: Its answers, as the judge takes them.
        random: Draws the standing of a tournament; None: all answers meet.
    """
    verdicts: list[list[float]] = []

    def play(matches: Sequence[Match]) -> list[float]:
        sides = ([contents[i] for i, _ in matches], [contents[j] for _, j in matches])
        values = compare(judge, [prompt] * len(matches), *sides).tolist()
        if wrong := [value for value in values if not 0 <= value <= 1]:
            raise DataError(f"{judge.name} compared two answers of '{prompt[:60]}' with the probability {wrong[0]}.")
        verdicts.extend([i, j, value] for (i, j), value in zip(matches, values, strict=True))
        return values

    if random is None:
        play([(i, j) for i in range(len(contents)) for j in range(i + 1, len(contents))])
    else:
        play_tournament(len(contents), play, random)
    return verdicts


def win_matrix(verdicts: Sequence[Sequence[float]], count: int) -> np.ndarray:
    """Returns ``(n, n)`` probabilities that the row beats the column; NaN for answers that did not meet."""
    wins = np.full((count, count), np.nan)
    np.fill_diagonal(wins, 0.5)
    for i, j, probability in verdicts:
        wins[int(i), int(j)], wins[int(j), int(i)] = probability, 1 - probability
    return wins
