"""Mixes the pairs of a round with the data's own pairs and with pairs of earlier rounds, place by place.

    offline     the data's own pair of the prompt takes the place: on-policy and offline data in one run
    replay      a pair of an earlier round, of any prompt, takes it

Each place draws for itself, so a place holds the same in every process and after a resume.

Sources: a mix of own and offline pairs as in Tajwar et al. 2024 (arXiv 2404.14367); 30 % of the round before and half
as much of the one before it as in Rosset et al. 2024 (arXiv 2404.03715).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from diffalign.data.records.pair import Pair
from diffalign.errors import RunError
from diffalign.files.atomic import write_atomically
from diffalign.randomness import stream


def mix(
    pairs: Sequence[Pair],
    row: Pair,
    number: int,
    seed: int,
    offline: float,
    earlier: Sequence[tuple[float, Sequence[Pair]]],
) -> list[Pair]:
    """Returns the pairs of a prompt, some of them replaced. Ids stay.

    Args:
        pairs: The pairs of the round.
        row: The prompt's row of the data, with both answers where ``offline`` is above 0.
        number: The round.
        seed: The run's seed.
        offline: Share of the data's own pairs.
        earlier: Shares of earlier rounds with their pairs.
    """
    if not offline and not earlier:
        return list(pairs)
    mixed = []
    for pair in pairs:
        random = stream(seed, pair.id, number, "mix")
        drawn, taken = float(random.random()), pair
        choices = [(offline, [_own(row, pair)]), *((share, list(of_round)) for share, of_round in earlier)]
        for share, candidates in choices:
            if 0.0 <= drawn < share and candidates:
                taken = replace(candidates[int(random.integers(0, len(candidates)))], id=pair.id)
            drawn -= share
        mixed.append(taken)
    return mixed


def _own(row: Pair, pair: Pair) -> Pair:
    """Returns the data's own pair in the place of a pair of the round, with the scores of the data."""
    scores = {role: {**pair.scores[role], **row.scores.get(role, {})} for role in ("chosen", "rejected")}
    return replace(
        pair, chosen=row.chosen, rejected=row.rejected, scores=scores, probability=row.probability, silent=False
    )


@dataclass(frozen=True)
class KeptPlaces:
    """Which prompts each round answered, a file per round.

    Args:
        folder: Where the files are.
    """

    folder: Path

    def write(self, number: int, places: Sequence[int]) -> None:
        """Writes the prompts of a round; writing them again changes nothing."""
        text = json.dumps([int(place) for place in places])
        write_atomically(self._path(number), lambda temporary: temporary.write_text(text, encoding="utf-8"))

    def read(self, number: int) -> list[int]:
        """Returns the prompts of a round. Raises RunError where its file is missing or damaged."""
        path = self._path(number)
        try:
            return [int(place) for place in json.loads(path.read_text(encoding="utf-8"))]
        except (OSError, ValueError, TypeError) as error:
            raise RunError(
                f"{path} is missing or damaged: it names the prompts of round {number}, which are replayed. Start the "
                "run again in another folder, --set output=FOLDER, or without: --set pairs.replay=0"
            ) from error

    def _path(self, number: int) -> Path:
        return self.folder / f"round-{number:06d}.json"
