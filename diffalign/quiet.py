"""Silence around loading: bars and advice of the libraries that say nothing about this run."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def quiet() -> Iterator[None]:
    """Within this block diffusers and transformers show no bars, and of their messages only errors. A library that is
    not loaded yet is left so: language models need no diffusers."""
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
