"""File names that come with data: a file is read only where its name stays within the data's own folder."""

from __future__ import annotations

import os
from pathlib import Path


def inside(root: Path, name: str) -> Path | None:
    """Returns ``root / name`` when that stays within ``root``, otherwise None.

    Only the name decides. Symbolic links within the folder were made by its owner (download caches consist of them),
    while a name like ``../../key`` or ``/etc/passwd`` comes with the data.
    """
    if "\0" in name:
        return None
    base = os.path.abspath(root)
    path = os.path.normpath(os.path.join(base, name))
    return Path(path) if path.startswith(base.rstrip(os.sep) + os.sep) else None
