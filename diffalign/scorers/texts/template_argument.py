"""The argument of a scorer with a template: a file, where one is given, before the model."""

from __future__ import annotations

from pathlib import Path

ENDINGS = (".yaml", ".yml")


def split_template(argument: str) -> tuple[Path | None, str]:
    """Returns file and model of ``FILE.yaml:MODEL`` or ``MODEL``; None where no file is given."""
    first, _, rest = argument.partition(":")
    if first.endswith(ENDINGS):
        return Path(first).expanduser(), rest
    return None, argument
