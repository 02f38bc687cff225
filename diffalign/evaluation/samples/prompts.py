"""Reads prompts from a command line or a recipe: the prompt itself, or ``@FILE`` for the lines of a file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from diffalign.errors import UserError


def read_prompts(given: Sequence[str]) -> list[str]:
    """Returns prompts, with each ``@FILE`` replaced by the lines of the file; empty lines are left out.

    Raises:
        UserError: A missing file, or no prompt at all.
    """
    prompts: list[str] = []
    for text in given:
        if not text.startswith("@"):
            prompts.append(text)
            continue
        path = Path(text[1:])
        if not path.is_file():
            raise UserError(
                f"the prompt '{text}' names a file that does not exist. Give @FILE with one prompt a line, "
                "or the prompt itself."
            )
        prompts += [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    if not prompts:
        raise UserError(f"there is no prompt in {list(given)}. Give a prompt, or @FILE with one prompt a line.")
    return prompts
