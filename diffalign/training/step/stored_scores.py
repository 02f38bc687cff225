"""Rewards of the data: scores of the candidates that were computed before training, for losses that read them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from diffalign.data.records.pair import Pair
from diffalign.errors import DataError
from diffalign.losses import Objective
from diffalign.losses.logp_settings import REWARDS


def rewards_of(loss: Objective, pairs: Sequence[Pair]) -> dict[str, Tensor]:
    """Returns ``(B,)`` float64 by role of the candidates: the scores that the recipe's ``loss.rewards`` names; empty
    where no term reads rewards.

    Raises:
        DataError: A candidate without the score; several scorers, where the recipe names none.
    """
    scorers = reward_scorers(loss)
    if scorers is None or not pairs:
        return {}
    roles = [role for role in pairs[0].answers if role in ("chosen", "rejected") or role in pairs[0].scores]
    return {role: torch.tensor([_reward(pair, role, scorers) for pair in pairs], dtype=torch.float64) for role in roles}


def check_rewards(loss: Objective, pairs: Sequence[Pair]) -> None:
    """Raises DataError where a candidate lacks the rewards that a term reads, or a term would misread them."""
    rewards = rewards_of(loss, pairs)
    if not {"chosen", "rejected"} <= rewards.keys():
        return
    for term in loss:
        fits = term.loss.loss.fits_rewards
        if fits is not None:
            try:
                fits(term.loss.hyper, rewards["chosen"], rewards["rejected"])
            except ValueError as error:
                raise DataError(str(error)) from error


def reward_scorers(loss: Objective) -> str | Mapping[str, float] | None:
    """Returns the scorer whose scores are read: a name, "" for the only one, several with their weights; None where no
    term reads rewards.

    Raises:
        DataError: Two terms that read different ones.
    """
    values = [term.loss.hyper[REWARDS] for term in loss if REWARDS in term.loss.hyper]
    scorers = [value for value in values if isinstance(value, (str, Mapping))]
    if any(name != scorers[0] for name in scorers):
        raise DataError(
            f"the losses of a sum read the same rewards, but they name {scorers[0]!r} and {scorers[-1]!r}. Type the "
            "same rewards for each."
        )
    return scorers[0] if scorers else None


def _reward(pair: Pair, role: str, scorers: str | Mapping[str, float]) -> float:
    scores = pair.scores.get(role, {})
    if isinstance(scorers, Mapping):
        return sum(weight * _score(pair, role, scores, name) for name, weight in scorers.items())
    if scorers:
        return _score(pair, role, scores, scorers)
    if len(scores) != 1:
        raise DataError(
            f"{pair.source or pair.id}: the loss reads rewards, and its {role} candidate has "
            + (f"those of {', '.join(scores)}. Type: --set loss.rewards={next(iter(scores))}" if scores else _NO_SCORE)
        )
    return next(iter(scores.values()))


def _score(pair: Pair, role: str, scores: Mapping[str, float], name: str) -> float:
    if name not in scores:
        raise DataError(
            f"{pair.source or pair.id}: its {role} candidate has no score by '{name}', which loss.rewards names; there "
            f"are {', '.join(scores) or 'none'}."
        )
    return scores[name]


_NO_SCORE = (
    "none. Score the pairs first (`diffalign score DATA --scorer NAME`) and name the file under data.scores, or give "
    "the data columns such as chosen_score and rejected_score."
)
