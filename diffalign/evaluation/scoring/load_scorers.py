"""Loads the scorers of a pass, of which each has to fit the samples and their prompts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

from diffalign.errors import DataError, UserError
from diffalign.evaluation.samples.medium import MEDIA
from diffalign.evaluation.scoring.example import Example
from diffalign.scorers import SCORERS, Scorer, check_companions, load_scorer, scorer_medium
from diffalign.scorers.scorer import SupportsPromptCheck, reads_prompt

_GROUP = 1024


def check_medium(specs: Sequence[str], medium: str, source: object) -> None:
    """Raises UserError for an unknown scorer, one of another medium, one that is given twice or never used alone."""
    check_companions(specs)
    if len(set(specs)) < len(specs):
        raise UserError(f"each scorer is given once; got {', '.join(specs)}.")
    for spec in specs:
        scored = scorer_medium(spec)
        if scored != medium:
            fitting = [name for name, row in SCORERS.items() if row.medium == medium]
            raise UserError(
                f"The scorer '{spec}' judges {MEDIA[scored].plural}, but {source} holds {MEDIA[medium].plural}. "
                f"Scorers of {MEDIA[medium].plural}: {', '.join(fitting)}."
            )


def load_scorers(specs: Sequence[str], examples: Iterable[Example], device: str) -> dict[str, Scorer]:
    """Returns the scorers by their names, on a device.

    Raises:
        DataError: A sample lacks the prompt that a scorer reads, or has one that it cannot score.
    """
    scorers: dict[str, Scorer] = {spec: load_scorer(spec, device) for spec in specs}
    readers = [spec for spec, scorer in scorers.items() if reads_prompt(scorer)]
    checks = [scorer for scorer in scorers.values() if isinstance(scorer, SupportsPromptCheck)]
    for group in _groups(examples):
        without = next((example for example in group if not example.has_prompt and not example.problem), None)
        if without is not None and readers:
            raise DataError(
                f"{without.name} has no prompt, which {', '.join(readers)} read{'s' * (len(readers) == 1)}. For a "
                "folder of files give --prompt TEXT, --prompt @FILE with a line for each file, or a text file of the "
                "same name with the ending .txt; for a table a column prompt."
            )
        prompts: list[Any] = list(dict.fromkeys(prompt for example in group for prompt, _ in example.sides))
        for scorer in checks:
            scorer.check_prompts(prompts)
    return scorers


def _groups(examples: Iterable[Example]) -> Iterator[list[Example]]:
    rows = iter(examples)
    while group := list(islice(rows, _GROUP)):
        yield group
