"""A game on a table: how often each answer beats each other one, a reference, and what leaving it costs.

    V(p, q) = P(p beats q) - beta KL(p || reference) + beta KL(q || reference)

Policies are ``(n,)`` log-probabilities in float64.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Game:
    """A game.

    Args:
        beats: ``(n, n)``: how often the row's answer beats the column's; with its transpose it adds up to 1.
        reference: ``(n,)`` log-probabilities, where loops begin.
        beta: Weight of the KL, 0 or more.
    """

    beats: Tensor
    reference: Tensor
    beta: float

    def win_rates(self, opponent: Tensor) -> Tensor:
        """Returns ``(n,)``: how often each answer beats a policy's."""
        return self.beats @ opponent.exp()

    def gap(self, policy: Tensor) -> float:
        """Returns the duality gap: what the best reply to a policy gains, for both sides; 0 at the equilibrium.

        max_p V(p, policy) - min_q V(policy, q) = 2 max_p V(p, policy) - 1, since the two sides' values add up to 1.
        """
        rates = self.win_rates(policy)
        if not self.beta:
            return 2.0 * rates.max().item() - 1.0
        best = self.beta * (self.reference + rates / self.beta).logsumexp(0)
        return 2.0 * (best + self.beta * kl(policy, self.reference)).item() - 1.0

    def equilibrium(self) -> Tensor:
        """Returns the policy that is its own best reply, ``reference exp(P(. beats it) / beta)``, for a beta above 0.

        By Newton's method on the logits, from a weight of the KL at which the reference almost is the equilibrium down
        to beta: no loop that this program tests takes part.
        """
        n = len(self.reference)
        centre = torch.eye(n, dtype=torch.float64) - 1.0 / n
        logits = centre @ self.reference
        for weight in [*(self.beta * 2.0**k for k in range(12, 0, -1)), *[self.beta] * 20]:
            policy = logits.log_softmax(0)
            p = policy.exp()
            residual = logits - centre @ (self.reference + self.beats @ p / weight)
            slope = torch.eye(n, dtype=torch.float64) - centre @ self.beats @ (p.diag() - torch.outer(p, p)) / weight
            logits = logits - torch.linalg.solve(slope, residual)
        return logits.log_softmax(0)


def game(beats: Sequence[Sequence[float]], reference: Sequence[float], beta: float = 0.0) -> Game:
    """Returns a game from numbers; the reference as probabilities."""
    tensor = torch.tensor(beats, dtype=torch.float64)
    if not torch.equal(tensor + tensor.T, torch.ones_like(tensor)):
        raise ValueError("beats[a][b] + beats[b][a] is 1 in a game: one of the two answers wins")
    return Game(tensor, torch.tensor(reference, dtype=torch.float64).log(), beta)


def kl(policy: Tensor, other: Tensor) -> Tensor:
    """Returns ``KL(policy || other)`` of two policies, in nats."""
    return (policy.exp() * (policy - other)).sum()


CYCLE = ((0.5, 0.9, 0.2), (0.1, 0.5, 0.8), (0.8, 0.2, 0.5))
"""Each answer beats one other, with different odds; the example of EGPO's and Nash-MP's specifications."""
SCISSORS = ((0.5, 1.0, 0.0), (0.0, 0.5, 1.0), (1.0, 0.0, 0.5))
"""Rock, paper, scissors."""
CONDORCET = ((0.5, 0.7, 0.8), (0.3, 0.5, 0.6), (0.2, 0.4, 0.5))
"""The first answer beats all others."""
BIASED = ((0.5, 0.75, 0.375), (0.25, 0.5, 0.625), (0.625, 0.375, 0.5))
"""A cycle with odds of 1/4, 1/8 and 1/8 above one half."""
BIASED_EQUILIBRIUM = (0.25, 0.25, 0.5)
"""Its unregularised equilibrium: each answer as often as the edge of the other two."""
