"""bitsandbytes, which packs weights in 4 bits and keeps an optimizer's state in 8, where it is installed."""

from __future__ import annotations

import logging

from diffalign.errors import ConfigError


def require_bitsandbytes(setting: str, instead: str) -> None:
    """Imports bitsandbytes without what it says of kernels that only inference uses.

    Args:
        setting: What needs it: ``"model.quantize 'nf4'"``.
        instead: What to type to do without it.

    Raises:
        ConfigError: It is not installed.
    """
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    try:
        import bitsandbytes  # noqa: F401
    except ImportError:
        raise ConfigError(
            f"{setting} needs the package bitsandbytes. Type: pip install 'diffalign[lowbit]'   or: {instead}"
        ) from None
