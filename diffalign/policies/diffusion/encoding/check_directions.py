"""Refuses to mirror clips whose prompts name a side or a sense of turning: mirrored, they would show the opposite."""

from __future__ import annotations

import re
from collections.abc import Sequence

from diffalign.data.records.conversation import plain_text
from diffalign.data.records.pair import Pair
from diffalign.errors import ConfigError

DIRECTIONS = re.compile(r"\b(?:left|right)(?:wards?|ward|most|-hand(?:ed)?)?\b|\b(?:counter|anti)?-?clockwise\b", re.I)


def check_directions(pairs: Sequence[Pair], flip: str) -> None:
    """Raises ConfigError for the first prompt with such a word, where clips may be mirrored."""
    if flip == "none":
        return
    for pair in pairs:
        for role in pair.answers:
            found = DIRECTIONS.search(plain_text(pair.prompt_of(role)))
            if found:
                raise ConfigError(
                    f"the prompt of pair '{pair.id}' says '{found.group()}', and a mirrored clip would show the"
                    f" opposite, but model.flip is '{flip}'. Type: --set model.flip=none"
                )
