"""Builds the source ``pairs: rounds`` from the settings of a recipe."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from diffalign.data.records.pair import Pair
from diffalign.data.records.to_sample import ToSample
from diffalign.errors import ConfigError
from diffalign.pairs.dataset import DatasetPairs
from diffalign.pairs.making.judge_samples import By
from diffalign.pairs.making.pairings import PairingSettings
from diffalign.pairs.rounds.answers import FROM_DATA, data_answers
from diffalign.pairs.rounds.judging import RoundJudges
from diffalign.pairs.rounds.settings import RoundSettings
from diffalign.pairs.rounds.source import JudgedRounds
from diffalign.pairs.source import PairSource
from diffalign.scorers.composed.sum_of_scores import Normalise


def rounds(
    data: DatasetPairs,
    *,
    judge: str | list[str] = "",
    every: int = 30,
    answers: int = 4,
    from_data: str = "none",
    answers_by: str | list[str] = "policy",
    further: dict[str, str] | None = None,
    offline: float = 0.0,
    replay: float = 0.0,
    reference: str = "initial",
    border: str = "plain",
    momentum: float = 0.3,
    pairing: str = "best_worst",
    by: By = "auto",
    weights: dict[str, float] | None = None,
    normalise: Normalise = "z-score",
    gap: float = 0.0,
    threshold: float | None = None,
    beta: float = 0.5,
    keep: int = 8,
    batch: int = 8,
    **sampling: Any,
) -> PairSource:
    """``pairs: rounds``: in each round the policy answers prompts, judges rank the answers, and pairs are formed.

    Args:
        data: Rows whose prompts are answered, each prompt once.
        judge: A scorer, several whose normalised scores are added, or ``label``: the data's own label.
        every: Optimizer steps per round, >= 1.
        answers: Samples of each prompt; 0 takes the data's answers only.
        from_data: Answers of the data that join them: ``none``, the ``chosen`` one (a teacher's), or ``both``.
        answers_by: Who answers: the ``policy`` as the round begins, the ``initial`` model, or a ``random`` one of the
            policy's states; of several each gives an answer in turn.
        further: Samples that losses read and no judge ranks, by role who gives them, as in
            ``{calibration: initial}``.
        offline: Share of the places that hold the data's own pairs, in [0, 1).
        replay: Share of the places that hold pairs of the round before; half of it, those of the round before that.
        reference: ``initial``: the model that training began with; ``previous``: the policy at the round's beginning;
            ``answerer``: the (first) one who answered.
        border: Between two rounds: ``plain``; ``momentum``: the policy is moved on in the direction of its last round;
            ``extragradient``: rounds are pairs of phases, of which the second begins where the first began.
        momentum: For ``momentum``: how far, 0 or more and below 1.
        pairing: Which answers are compared: ``best_worst``, ``all``, ``threshold``, ``rejection``, ``tournament``,
            ``list`` (all of them, for losses on lists) or ``best_only`` (for losses on single examples).
        by: ``scores``, ``comparisons`` of every two answers, or ``auto``: what the judge gives.
        weights: Of several judges, by name; 1 for the others.
        normalise: ``z-score`` or ``min-max``, over the answers of a round, for several judges.
        gap: Smallest difference of a pair's scores (or win rates), 0 or more; a tie is never a pair.
        threshold: For ``threshold``: what a good answer has at least.
        beta: For ``rejection``: the temperature, in the scores' unit.
        keep: For ``rejection``: answers that are kept.
        batch: Samples made at once, >= 1.
        sampling: Sampling settings of the model's kind, which a recipe checks and completes.

    Raises:
        ConfigError: A setting is out of its range, or settings do not fit together.
        UserError: There is no scorer of a judge's name.
    """
    judges = RoundJudges(_listed(judge), by, weights or {}, normalise, pairing == "tournament")
    choice = PairingSettings(gap, threshold, beta, keep)
    settings = RoundSettings(
        every,
        answers,
        from_data,
        _listed(answers_by),
        further or {},
        offline,
        replay,
        reference,
        judges,
        border,
        momentum,
        pairing,
        choice,
        batch,
        sampling,
    )
    return JudgedRounds(_rows(data, settings), settings, data.origin)


def _rows(data: DatasetPairs, settings: RoundSettings) -> Sequence[Pair]:
    """Returns the rows whose prompts are answered: the first of each prompt, or all where their answers take part."""
    needed = "both" if settings.offline else settings.from_data
    if needed == "none":
        first = dict[str, Pair]()
        for row in data.pairs:
            first.setdefault(str(row.prompt), row)
        return list(first.values())
    for row in data.pairs:
        if isinstance(row.chosen, ToSample) or len(data_answers(row, needed)) < FROM_DATA[needed]:
            setting, off = ("offline", 0) if settings.offline else ("from_data", "none")
            raise ConfigError(
                f"pairs.{setting} takes {FROM_DATA[needed]} answers of each row, but {row.source or row.id} "
                f"has fewer. Type: --set pairs.{setting}={off}   or give data with such answers"
            )
    return data.pairs


def _listed(names: str | list[str]) -> tuple[str, ...]:
    return (names,) if isinstance(names, str) else tuple(names)
