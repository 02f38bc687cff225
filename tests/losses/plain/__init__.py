"""The formulas once more, on Python floats and from the papers: what the catalogue's functions must equal.

A loss without an entry in one of these files fails the battery.
"""

from tests.losses.plain.core import CORE
from tests.losses.plain.judged import JUDGED
from tests.losses.plain.lists import LISTS
from tests.losses.plain.logic import LOGIC
from tests.losses.plain.pairs import ON_PAIRS
from tests.losses.plain.singles import SINGLES
from tests.losses.plain.table import Answer, Example, Parts, Plain, log_sigmoid, value, values
from tests.losses.plain.tokens import ON_TOKENS

PLAIN: dict[str, Plain] = {**CORE, **ON_PAIRS, **LISTS, **SINGLES, **JUDGED, **LOGIC, **ON_TOKENS}

__all__ = ["PLAIN", "Answer", "Example", "Parts", "Plain", "log_sigmoid", "value", "values"]
