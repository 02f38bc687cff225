"""The catalogue of formats: what each is called, which columns it is recognised by, and the function that reads it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from diffalign.data.readers import (
    captioned,
    implicit_prompt,
    pair_folder,
    pickapic,
    ranked_answers,
    step_pairs,
    trl,
    unpaired,
)
from diffalign.data.records.pair import Dropped, Pair


@dataclass(frozen=True)
class Reader:
    """A format that can be read.

    Args:
        name: What users call it.
        read: ``read(tables, **options)``, yields a pair or a dropped row per row.
        required: The columns by which it is recognised.
        summary: One line for the documentation and the command line.
        aliases: ``{required column: other names that serve}``.
        unless: Columns beside which it is not recognised, only named: they say that the rows mean something else.
        doubt: What such a ``{column}`` may mean, and what to do.
    """

    name: str
    read: Callable[..., Iterator[Pair | Dropped]]
    required: tuple[str, ...]
    summary: str
    aliases: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    unless: tuple[str, ...] = ()
    doubt: str = ""

    def needed(self, columns: Sequence[str]) -> list[str]:
        """The required columns, each by the name that ``columns`` has for it, by its first name where it is missing."""
        names = [(name, *self.aliases.get(name, ())) for name in self.required]
        return [next((name for name in served if name in columns), served[0]) for served in names]

    def options(self) -> list[str]:
        """Names of the options that ``read`` takes."""
        kinds = inspect.signature(self.read).parameters.values()
        return [parameter.name for parameter in kinds if parameter.kind is parameter.KEYWORD_ONLY]


_ROWS = (
    Reader(
        "pickapic", pickapic.read_pickapic, pickapic.REQUIRED, "Pick-a-Pic: two images as bytes, a caption and a vote"
    ),
    Reader(
        "pair_folder",
        pair_folder.read_pair_folder,
        pair_folder.REQUIRED,
        "files, and metadata that names two per prompt",
    ),
    Reader(
        "steps",
        step_pairs.read_steps,
        step_pairs.REQUIRED,
        "two ways to take the next step of a solution, after the steps so far",
        step_pairs.ALIASES,
    ),
    Reader(
        "trl", trl.read_trl, trl.REQUIRED, "TRL's prompt, chosen and rejected: texts, messages, file names or bytes"
    ),
    Reader(
        "ranked",
        ranked_answers.read_ranked,
        ranked_answers.REQUIRED,
        "several answers per prompt with their scores: texts, messages, file names or bytes",
        ranked_answers.ALIASES,
    ),
    Reader("unpaired", unpaired.read_unpaired, unpaired.REQUIRED, "TRL's answers that were judged one by one"),
    Reader(
        "implicit",
        implicit_prompt.read_implicit,
        implicit_prompt.REQUIRED,
        "texts or messages with the prompt inside, as HH-RLHF writes them",
        unless=implicit_prompt.UNLESS,
        doubt="may hold the prompt. If so, say columns={{'prompt': '{column}'}}; if chosen and rejected repeat the "
        "prompt, say format implicit",
    ),
    Reader(
        "captioned",
        captioned.read_captioned,
        captioned.REQUIRED,
        "winners alone: images with their prompts",
        captioned.ALIASES,
        captioned.UNLESS,
        "may say that some rows are no such thing: keep those that are, or say format captioned if all are",
    ),
)
READERS: dict[str, Reader] = {row.name: row for row in _ROWS}
