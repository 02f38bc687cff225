"""Statistical rejection sampling: answers of the model become answers of the policy that a reward would make of it.

    pi_r(y) proportional to pi(y) exp(r(y) / beta)

Passes over the answers: at its start a pass fixes the largest reward of those that are left; then each is accepted, in
order, with the probability

    exp((r - r_max) / beta)

until as many are accepted as are wanted.

Facts: the best one left is always accepted, so every pass accepts one at least and the passes end. ``beta -> 0`` keeps
the answers with the largest rewards, ``beta -> inf`` the first ones.

Source: Liu et al. 2023 (arXiv 2309.06657), algorithm 1; 8 of 64 answers at beta 0.5.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from diffalign.errors import UserError


def acceptance(rewards: Sequence[float], beta: float) -> list[float]:
    """Returns the probability with which each answer is accepted in a first pass."""
    largest = max(rewards)
    if beta == 0:
        return [1.0 if reward == largest else 0.0 for reward in rewards]
    return [math.exp((reward - largest) / beta) for reward in rewards]


def rejection_sample(rewards: Sequence[float], keep: int, beta: float, random: np.random.Generator) -> list[int]:
    """Returns the indices of the accepted answers, in the order of their acceptance.

    Args:
        rewards: Rewards of the answers; ``beta`` is in their unit.
        keep: Number of answers to accept; all of them where there are fewer.
        beta: Temperature of the target, 0 or more; 0 takes the largest rewards.
        random: Draws the acceptances.

    Raises:
        UserError: ``keep`` is below 1, or ``beta`` below 0.
    """
    if keep < 1 or not 0 <= beta < math.inf:
        raise UserError(f"rejection sampling keeps 1 answer or more at a beta of 0 or more; got {keep} at {beta:g}.")
    if beta == 0:
        return sorted(range(len(rewards)), key=lambda index: -rewards[index])[:keep]
    left, accepted = list(range(len(rewards))), list[int]()
    while left and len(accepted) < keep:
        probabilities = acceptance([rewards[index] for index in left], beta)
        rest = []
        for index, probability in zip(left, probabilities, strict=True):
            if len(accepted) < keep and random.random() < probability:
                accepted.append(index)
            else:
                rest.append(index)
        left = rest
    return accepted
