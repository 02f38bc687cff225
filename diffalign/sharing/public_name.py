"""Names that may be shared: a hub name tells about a model, a path about a machine."""

from __future__ import annotations

from pathlib import Path


def public_name(path: str) -> str:
    """A hub name as it is; of a local file or folder its last part."""
    return Path(path).resolve().name if Path(path).exists() else path
