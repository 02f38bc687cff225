"""Names for publication: a hub name identifies a model, while a local path reveals details of a machine."""

from __future__ import annotations

import os
import re
from pathlib import Path

_HUB_NAME = re.compile(r"[\w.-]{1,96}/[\w.-]{1,96}", re.ASCII)


def public_name(path: str) -> str:
    """Returns a hub name unchanged, that of a folder in the hub's cache, and of another path only the last part."""
    if not os.path.exists(path):
        return path
    whole = Path(path).resolve()
    cached = next((part for part in whole.parts if part.startswith(("models--", "datasets--"))), "")
    return "/".join(cached.split("--")[1:]) if cached.count("--") == 2 else whole.name


def is_hub_name(name: str) -> bool:
    """Returns whether a name has the form OWNER/NAME, so that a card can link to it; a local folder's has not."""
    return bool(_HUB_NAME.fullmatch(name)) and ".." not in name
