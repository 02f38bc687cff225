"""Parses a structure from text, in one of three forms.

cCPO                                                a name of the table
11,10 / 01     or     M_w / M_l and not M_w         top / bottom, as worlds or as statements
M_l -> M_w given M_w or M_l also M_w and M_l        core, constraint, additive part; the last two are optional
"""

from __future__ import annotations

import re
from functools import cache

from diffalign.losses.hyperparameters import nearest
from diffalign.losses.logic.formulas import FALSE, TRUE, formula
from diffalign.losses.logic.named_forms import TABLE
from diffalign.losses.logic.structures import Structure, worlds


@cache
def structure_of(text: str) -> Structure:
    """Returns the structure of a text. Raises ValueError for one that cannot be parsed, or has an empty set."""
    if text.strip() in TABLE:
        return TABLE[text.strip()].structure
    if "/" in text:
        top, slash, bottom = (part.strip() for part in text.partition("/"))
        return between(top, bottom)
    parts = re.fullmatch(r"(.*?)(?:\bgiven\b(.*?))?(?:\balso\b(.*?))?", text, re.DOTALL)
    assert parts is not None  # every part may be empty
    core, constraint, additive = parts.groups()
    if re.fullmatch(r"\w+", text.strip()) and not re.fullmatch(r"[mr]_?[wl]|true|false", text.strip(), re.IGNORECASE):
        same = [name for name in TABLE if name.lower() == text.strip().lower()]
        hint = f" Did you mean '{same[0]}'?" if same else nearest(text, TABLE)
        raise ValueError(
            f"there is no form '{text}'.{hint} Known are {', '.join(TABLE)}; others are written down: "
            "'M_l -> M_w given M_w or M_l'"
        )
    return Structure.of(
        formula(core),
        TRUE if constraint is None else formula(constraint),
        FALSE if additive is None else formula(additive),
    )


@cache
def between(top: str, bottom: str) -> Structure:
    """Returns the structure of two sets of worlds, each listed or as a statement; over the reference's propositions too
    where one of them contains those.
    """
    count = max(_count(top), _count(bottom))
    return Structure(worlds(top, count), worlds(bottom, count))


def _count(text: str) -> int:
    listed = re.findall(r"\b[01]{4}\b", text)
    return 4 if listed or re.search(r"\br_?[wl]\b", text, re.IGNORECASE) else 2
