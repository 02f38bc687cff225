"""Rewards of the data: what a scorer said of each candidate beforehand, for losses that read it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from diffalign.data.records.pair import Pair
from diffalign.errors import DataError
from diffalign.losses import Objective
from diffalign.losses.settings import REWARDS


def rewards_of(loss: Objective, pairs: Sequence[Pair]) -> dict[str, Tensor]:
    """``(B,)`` float64 by role of the candidates: what the recipe's ``loss.rewards`` names; empty where no term reads
    rewards.

    Raises:
        DataError: A candidate without the score; several scorers, where the recipe names none.
    """
    chosen = chosen_rewards(loss)
    if chosen is None or not pairs:
        return {}
    roles = [role for role in pairs[0].answers if role in ("chosen", "rejected") or role in pairs[0].scores]
    return {role: torch.tensor([_reward(pair, role, chosen) for pair in pairs], dtype=torch.float64) for role in roles}


def chosen_rewards(loss: Objective) -> str | Mapping[str, float] | None:
    """Whose scores are read: a name, "" for the only ones, several with their weights; None: nobody's.

    Raises:
        DataError: Two terms that read different ones.
    """
    values = [term.loss.hyper[REWARDS] for term in loss if REWARDS in term.loss.hyper]
    named = [value for value in values if isinstance(value, (str, Mapping))]
    if any(name != named[0] for name in named):
        raise DataError(
            f"the losses of a sum read the same rewards, but they name {named[0]!r} and {named[-1]!r}. Type the same "
            "rewards for each."
        )
    return named[0] if named else None


def _reward(pair: Pair, role: str, named: str | Mapping[str, float]) -> float:
    there = pair.scores.get(role, {})
    if isinstance(named, Mapping):
        return sum(weight * _one(pair, role, there, name) for name, weight in named.items())
    if named:
        return _one(pair, role, there, named)
    if len(there) != 1:
        raise DataError(
            f"{pair.source or pair.id}: the loss reads rewards, and its {role} candidate has "
            + (f"those of {', '.join(there)}. Type: --set loss.rewards={next(iter(there))}" if there else _NONE)
        )
    return next(iter(there.values()))


def _one(pair: Pair, role: str, there: Mapping[str, float], name: str) -> float:
    if name not in there:
        raise DataError(
            f"{pair.source or pair.id}: its {role} candidate has no score by '{name}', which loss.rewards names; there "
            f"are {', '.join(there) or 'none'}."
        )
    return there[name]


_NONE = (
    "none. Score the pairs first (`diffalign score DATA --scorer NAME`) and name the file under data.scores, or give "
    "the data columns such as chosen_score and rejected_score."
)
