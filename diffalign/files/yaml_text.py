"""The one border for YAML: bounded in size, depth and repetition, without duplicate keys, with errors of one sentence.

YAML can say a great deal in a few characters: an alias repeats a value, and aliases of aliases repeat it a billion
times; a value may contain itself; of two equal keys the last wins in silence. None of this is meant in a recipe.
"""

from __future__ import annotations

from typing import Any

import yaml

from diffalign.errors import ConfigError, UserError
from diffalign.printable import shown

DEEPEST = 40
"""Levels of nesting."""
MOST_VALUES = 100_000
"""Values, counting those that an alias repeats."""
MOST_CHARACTERS = 2**20
"""Characters of a YAML text."""


def read_yaml(text: str, name: str, error: type[UserError] = ConfigError) -> Any:
    """Returns what a YAML text says.

    Args:
        text: The text.
        name: Its name, as the subject of messages: "runs/a/recipe.yaml".
        error: The type of errors.

    Raises:
        UserError: A text that is no YAML, too large or ambiguous; ``error`` is its type.
    """
    if len(text) > MOST_CHARACTERS:
        raise error(f"{name} has {len(text):,} characters, and {MOST_CHARACTERS:,} are read at most.")
    try:
        return _Loader(text).get_single_data()
    except yaml.MarkedYAMLError as reason:
        raise error(f"{name} is not YAML that can be read: {_sentence(reason)}") from None
    except yaml.reader.ReaderError as reason:
        character = ord(reason.character) if isinstance(reason.character, str) else reason.character
        raise error(
            f"{name} is not YAML: character {reason.position + 1} is {character:#06x}, which no text contains."
        ) from None
    except (ValueError, OverflowError, TypeError, LookupError, AttributeError) as reason:  # such as 2020-99-99
        raise error(
            f"{name} contains a value that cannot be read ({shown(str(reason))}). Put quotes around texts."
        ) from None


def _sentence(reason: yaml.MarkedYAMLError) -> str:
    mark = reason.problem_mark or reason.context_mark
    place = f" (line {mark.line + 1}, column {mark.column + 1})" if mark is not None else ""
    return ", ".join(filter(None, (reason.context, reason.problem))) + f"{place}."


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader with bounds, that refuses duplicate keys."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._depth, self._values = 0, 0
        self._sizes: dict[int, int] = {}

    def compose_node(self, parent: Any, index: Any) -> Any:
        """Composes a node, counting levels and values."""
        event = self.peek_event()  # type: ignore[no-untyped-call]
        is_alias, before = self.check_event(yaml.AliasEvent), self._values  # type: ignore[no-untyped-call]
        self._depth += 1
        if self._depth > DEEPEST:
            raise yaml.composer.ComposerError(None, None, f"nested more than {DEEPEST} deep", event.start_mark)
        node = super().compose_node(parent, index)  # type: ignore[no-untyped-call]
        self._depth -= 1
        if is_alias and id(node) not in self._sizes:
            raise yaml.composer.ComposerError(None, None, "a value that contains itself", event.start_mark)
        self._values += self._sizes[id(node)] if is_alias else 1
        self._sizes.setdefault(id(node), self._values - before)
        if self._values > MOST_VALUES:
            raise yaml.composer.ComposerError(None, None, f"more than {MOST_VALUES:,} values", event.start_mark)
        return node

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        """Constructs a mapping. Raises for a key that occurs twice, other than one that ``<<`` merges."""
        seen: dict[tuple[str, str], Any] = {}
        for key, _ in node.value if isinstance(node, yaml.MappingNode) else ():
            if isinstance(key, yaml.ScalarNode) and key.tag != "tag:yaml.org,2002:merge":
                first = seen.setdefault((key.tag, key.value), key)
                if first is not key:
                    problem = f"the key {shown(key.value)} is given twice, first in line {first.start_mark.line + 1}"
                    raise yaml.constructor.ConstructorError(None, None, problem, key.start_mark)
        return super().construct_mapping(node, deep)  # type: ignore[no-untyped-call,no-any-return]
