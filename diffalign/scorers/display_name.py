"""Names of scorers for reports and cards: of a scorer's folder the last part, as a path is nothing to read or share."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from diffalign.sharing.public_name import public_name

FRAMES = "frames"
"""The scorer whose argument is another scorer."""


def display_name(name: str) -> str:
    """Returns ``clip:heldout`` for ``clip:assets/scorers/heldout``; other names, such as a hub's, stay as they are."""
    kind, argument = _split(name)
    if not _is_path(argument):
        return name
    return f"{kind}:{public_name(argument) if os.path.exists(argument) else Path(argument).name}"


def display_names(names: Iterable[str]) -> dict[str, str]:
    """Returns the display name of each scorer; paths with equal ends get as many parts as tell them apart."""
    short = {name: display_name(name) for name in names}
    found = dict(short)
    for name in short:
        kind, argument = _split(name)
        parts, length = Path(argument).parts, 1
        alike = [Path(_split(other)[1]).parts for other in short if short[other] == short[name]]
        while _is_path(argument) and length < len(parts) and [p[-length:] for p in alike].count(parts[-length:]) > 1:
            length += 1
        if len(alike) > 1 and _is_path(argument):
            found[name] = f"{kind}:{'/'.join(parts[-length:])}"
    return found


def _split(name: str) -> tuple[str, str]:
    """Returns the scorer and its argument: ``video_reward:MQ`` and the folder of ``video_reward:MQ:FOLDER``."""
    kind, _, argument = name.partition(":")
    choice, _, rest = argument.partition(":")
    if kind == FRAMES or _is_path(rest):
        return f"{kind}:{choice}", rest
    return kind, argument


def _is_path(argument: str) -> bool:
    return os.path.isabs(argument) or (os.sep in argument and os.path.exists(argument))
