"""Names for publication: a hub name identifies a model, while a local path reveals details of a machine."""

from __future__ import annotations

from pathlib import Path


def public_name(path: str) -> str:
    """Returns a hub name unchanged, and only the last part of a local path."""
    return Path(path).resolve().name if Path(path).exists() else path
