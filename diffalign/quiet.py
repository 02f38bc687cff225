"""Hides the progress bars and advice of libraries while models load."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def quiet() -> Iterator[None]:
    """Hides the bars of diffusers and transformers within the block, and their messages other than errors. A library
    that is not imported yet is not imported: language models do not need diffusers.
    """
    names = ("diffusers.utils.logging", "transformers.utils.logging")
    loggers = [sys.modules[name] for name in names if name in sys.modules]
    levels = [logger.get_verbosity() for logger in loggers]
    bars = [logger.is_progress_bar_enabled() for logger in loggers]
    for logger in loggers:
        logger.set_verbosity_error()
        logger.disable_progress_bar()
    try:
        yield
    finally:
        for logger, level, bar in zip(loggers, levels, bars, strict=True):
            logger.set_verbosity(level)
            if bar:
                logger.enable_progress_bar()
