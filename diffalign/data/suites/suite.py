"""A prompt of a suite, and a suite: where its file comes from and how it is read."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Categories = Mapping[str, tuple[str, ...]]
"""Column of categories to a prompt's values in it: ``{"dimension": ("color", "scene")}``."""


@dataclass(frozen=True)
class SuitePrompt:
    """A prompt with what its suite says about it.

    Args:
        prompt: The text that a model gets.
        categories: Values by which results are broken down.
        row: The row as published, such as the objects that an image has to show.
    """

    prompt: str
    categories: Categories = field(default_factory=dict)
    row: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Suite:
    """A published suite of prompts.

    Args:
        name: Its name after ``@suite:``.
        read: ``read(path)`` yields the prompts of a file or folder in the published layout.
        layout: The published file, in one line.
        categories: Names of its columns of categories.
        count: Number of prompts as published; 0 where versions differ.
        medium: What is made from its prompts: ``"image"``, ``"video"`` or ``"text"``.
        license: Licence of the list.
        source: Where the file is published.
        paper: The paper that describes it.
    """

    name: str
    read: Callable[[Path], Iterator[SuitePrompt]]
    layout: str
    categories: tuple[str, ...]
    count: int
    medium: str
    license: str
    source: str
    paper: str


def merge_categories(prompts: Iterable[SuitePrompt]) -> dict[str, Categories]:
    """Returns the categories of each prompt; one that occurs several times has the values of all its rows."""
    merged: dict[str, Categories] = {}
    for prompt in prompts:
        known = dict(merged.get(prompt.prompt, {}))
        for column, values in prompt.categories.items():
            known[column] = tuple(dict.fromkeys((*known.get(column, ()), *values)))
        merged[prompt.prompt] = known
    return merged
