"""The argument of a judge of several qualities: which one, of which weights."""

from __future__ import annotations

from collections.abc import Sequence


def split_argument(argument: str, qualities: Sequence[str]) -> tuple[str, str]:
    """Returns quality and source of ``QUALITY``, ``SOURCE`` or ``QUALITY:SOURCE``; what is not given is empty.

    A folder that has the name of a quality is written with its path: ``./VQ``.
    """
    first, _, rest = argument.partition(":")
    for quality in qualities:
        if first.lower() == quality.lower():
            return quality, rest
    return "", argument
