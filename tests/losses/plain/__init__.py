"""The formulas once more, on Python floats and from the papers: what the catalogue's functions must equal.

A loss without an entry in one of these files fails the battery.
"""

from tests.losses.plain.core import CORE
from tests.losses.plain.plain import Answer, Example, Parts, Plain, log_sigmoid, value, values

PLAIN: dict[str, Plain] = {**CORE}

__all__ = ["PLAIN", "Answer", "Example", "Parts", "Plain", "log_sigmoid", "value", "values"]
