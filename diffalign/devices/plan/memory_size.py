"""A size of memory as people type it: ``24GB``, ``11.5 GiB``, ``800MB``."""

from __future__ import annotations

import math
import re

from diffalign.errors import UserError
from diffalign.printable import shown

UNITS = {"kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12, "kib": 2**10, "mib": 2**20, "gib": 2**30, "tib": 2**40}
_SIZE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([kmgt]i?b)\s*", re.IGNORECASE)
LARGEST = 2**60


def parse_size(text: str) -> int:
    """Returns the bytes that a text states. Raises UserError where it is no size of memory."""
    found = _SIZE.fullmatch(text)
    size = float(found[1]) * UNITS[found[2].lower()] if found else math.nan
    if not 1 <= size <= LARGEST:
        raise UserError(f"--memory takes a size such as 24GB, 11.5GiB or 800MB; got {shown(text)}.")
    return round(size)
