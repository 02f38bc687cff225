"""Rows of prompts alone, for sources whose answers the policy gives: lines of a file, or a published suite."""

from __future__ import annotations

from collections.abc import Sequence

from diffalign.data.records.pair import Pair
from diffalign.data.records.to_sample import ToSample
from diffalign.errors import ConfigError
from diffalign.evaluation.samples.prompts import read_prompts


def read_prompt_rows(given: str, limit: int | None = None) -> list[Pair]:
    """Returns a row for each distinct prompt, whose answer does not exist yet.

    Args:
        given: ``@FILE``, with one prompt a line, or ``@suite:NAME:FILE``.
        limit: Take only this number of them.

    Raises:
        UserError, DataError: As :func:`~diffalign.evaluation.samples.prompts.read_prompts`.
    """
    prompts = list(dict.fromkeys(read_prompts([given])))[:limit]
    return [Pair(f"prompt-{number}", prompt, ToSample(0), None) for number, prompt in enumerate(prompts)]


def refuse_prompt_rows(pairs: Sequence[Pair], source: str, name: str) -> None:
    """Raises ConfigError where a source that needs answers gets rows of prompts alone.

    Args:
        pairs: The rows.
        source: The recipe's source of pairs.
        name: Where the rows come from, for the message.
    """
    if source != "rounds" and pairs and isinstance(pairs[0].chosen, ToSample):
        raise ConfigError(
            f"{name} holds prompts without answers, and 'pairs: {source}' compares answers of the data. Let the policy "
            "answer and a scorer judge: --set pairs.name=rounds --set pairs.judge=SCORER   (`diffalign score --help` "
            "lists scorers)"
        )
