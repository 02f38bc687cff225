"""Shows a prompt's answers to judges and returns what they say, as tensors that can be kept."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from diffalign.data.media.decode import media_digest
from diffalign.data.records.conversation import plain_text
from diffalign.data.records.pair import Media
from diffalign.data.storage.cached_candidate import CachedCandidate
from diffalign.errors import ConfigError, DataError
from diffalign.evaluation.scoring.decode_once import decode
from diffalign.pairs.making.compare_answers import meet, win_matrix
from diffalign.pairs.making.judge_samples import Judges
from diffalign.pairs.rounds.answers import PromptAnswers
from diffalign.pairs.source import RoundContext
from diffalign.policies.policy import SupportsShownCandidates
from diffalign.scorers.scorer import Scorer


def hear_judges(
    judges: Judges, item: PromptAnswers, order: np.random.Generator | None, context: RoundContext
) -> dict[str, Tensor]:
    """Returns what judges say of the ``K`` answers of a prompt: ``scores`` ``(S, K)`` float64 of ``S`` scorers, or
    ``wins`` ``(K, K)``, the probability that the row beats the column; and ``groups`` ``(K,)``, a number per answer,
    equal for equal answers.

    Args:
        judges: The judges.
        item: The prompt with its answers.
        order: Draws the standing of a tournament; None: all answers meet, where judges compare.
        context: Its policy shows its samples.

    Raises:
        DataError: A judge gave no number.
    """
    shown, prompt = _shown(item, context), prompt_for_judges(item, context.policy.medium)
    groups = {"groups": torch.tensor(_groups(shown, item.answers))}
    with torch.autocast(torch.device(context.device).type, enabled=False):
        if judges.compare:
            verdicts = meet(judges.scorers[0], prompt, shown, order)
            return groups | {"wins": torch.from_numpy(win_matrix(verdicts, len(shown)))}
        return groups | {"scores": torch.stack([_scores(scorer, prompt, shown) for scorer in judges.scorers])}


def prompt_for_judges(item: PromptAnswers, medium: str) -> Any:
    """Returns a prompt as judges of a medium read it."""
    return item.row.prompt if medium == "text" else plain_text(item.row.prompt)


def _shown(item: PromptAnswers, context: RoundContext) -> list[Any]:
    """Returns the answers as judges see them: samples as the policy shows them, answers of the data decoded."""
    policy, shown = context.policy, list[Any]()
    samples = [answer for answer in item.answers[: item.own] if isinstance(answer, CachedCandidate)]
    if samples:
        if not isinstance(policy, SupportsShownCandidates):
            raise ConfigError("this model cannot show its samples to a judge. Type: --set pairs.judge=label")
        shown += policy.show_candidates(samples, [item.row.prompt] * len(samples))
    return shown + [decode(answer, policy.medium) for answer in item.answers[item.own :]]


def _groups(shown: Sequence[Any], answers: Sequence[Media]) -> list[int]:
    names = [one if isinstance(one, str) else media_digest(answer) for one, answer in zip(shown, answers, strict=True)]
    return [names.index(name) for name in names]


def _scores(scorer: Scorer, prompt: Any, shown: Sequence[Any]) -> Tensor:
    scores = scorer.score([prompt] * len(shown), shown).double()
    if not bool(scores.isfinite().all()):
        raise DataError(f"{scorer.name} gave the score {scores[~scores.isfinite()][0]} to '{str(prompt)[:60]}'.")
    return scores
