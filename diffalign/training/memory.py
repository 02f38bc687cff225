"""How much memory a run has taken at most."""

from __future__ import annotations

import sys

import torch


def peak_bytes() -> int:
    """The accelerator's peak where there is one, else the process's, in bytes; 0 where the system does not tell."""
    if torch.cuda.is_available() and torch.cuda.max_memory_allocated():
        return torch.cuda.max_memory_allocated()
    try:
        import resource
    except ImportError:  # Windows
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
