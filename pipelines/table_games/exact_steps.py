"""The updates of papers as formulas, and the loops that repeat them.

    step(centre, opponent):    log p = (1 - share) log centre + share log reference + rate P(. beats opponent) + const

is one round of most of them:

    online IPO, INPO    centre = opponent = the policy;   share = tau / eta,  rate = 1 / eta,  with beta = tau
    EGPO                a half step on itself, then the step against the result;   share = eta beta,  rate = eta
    Nash-MP             the same two steps;   share = eta / (1 + eta),  rate = share / beta
    SPPO, DNO, SPO      share = 0: multiplicative weights on the policy itself
    APO                 share = 0, then moved on in the direction of the round

Sources: INPO arXiv 2407.00617; EGPO 2503.08942; Nash-MP 2505.19731; SPPO 2405.00675; DNO 2404.03715; SPO 2401.04056;
APO 2410.06293.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from torch import Tensor

from diffalign.pairs.rounds.extrapolate import extrapolate
from pipelines.table_games.game import Game

Step = Callable[[Game, Tensor, Tensor, float, float], Tensor]
"""``step(game, centre, opponent, share, rate)``, a policy."""
Shares = Callable[[int], float]
"""The share of the reference in a round, from its number, 0 for the first."""


def exact_step(game: Game, centre: Tensor, opponent: Tensor, share: float, rate: float) -> Tensor:
    """Returns the policy of the formula above."""
    mixed = geometric_mixture(centre, game.reference, share)
    return (mixed + rate * game.win_rates(opponent)).log_softmax(0)


def geometric_mixture(one: Tensor, other: Tensor, share: float) -> Tensor:
    """Returns ``(1 - share) one + share other`` of two policies' log-probabilities, normalised. A loss on margins does
    not see the normaliser; INPO's regression therefore uses the sum itself.
    """
    return ((1.0 - share) * one + share * other).log_softmax(0)


def self_play(step: Step, game: Game, shares: Shares, rate: float | None = None) -> Iterator[Tensor]:
    """Yields the policies of a loop against the policy itself, the first of which is the reference.

    Args:
        step: One round.
        game: The game.
        shares: The share of the reference in each round.
        rate: Of each round; None: ``share / beta``, whose fixed point is the regularised equilibrium.
    """
    policy, number = game.reference, 0
    while True:
        yield policy
        share = shares(number)
        policy, number = step(game, policy, policy, share, _rate(game, share, rate)), number + 1


def extragradient(step: Step, game: Game, shares: Shares) -> Iterator[Tensor]:
    """Yields the policies of two steps from one centre, the second against the first's result."""
    policy, number = game.reference, 0
    while True:
        yield policy
        share = shares(number)
        half = step(game, policy, policy, share, _rate(game, share, None))
        policy, number = step(game, policy, half, share, _rate(game, share, None)), number + 1


def momentum(step: Step, game: Game, rate: float, amount: float) -> Iterator[Tensor]:
    """Yields the policies of rounds that are moved on by ``amount`` of their last change, with the border rule of
    ``pairs: rounds`` on the logits as weights.
    """
    policy = trained = game.reference
    while True:
        yield policy
        before, trained = trained, step(game, policy, policy, 0.0, rate)
        moved, _ = extrapolate({"logits": trained}, {"logits": before}, amount)
        policy = moved["logits"].log_softmax(0)


def averages(policies: Iterator[Tensor]) -> Iterator[Tensor]:
    """Yields the mean of all policies so far, of their probabilities."""
    total, count = 0.0, 0
    for policy in policies:
        total, count = total + policy.exp(), count + 1
        yield (total / count).log()


def constant(share: float) -> Shares:
    """Returns the same share for every round."""
    return lambda number: share


def decreasing(number: int) -> float:
    """Returns ``2 / (round + 3)``: the steps under which a regularised mirror descent converges in every game."""
    return 2.0 / (number + 3.0)


def _rate(game: Game, share: float, rate: float | None) -> float:
    return share / game.beta if rate is None else rate
