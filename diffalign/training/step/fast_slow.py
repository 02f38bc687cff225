"""Fast and slow: two adapters on one base chase each other, so that neither margin stops to grow (OFS-DPO).

    L_F = L(F) + alpha C(m_F - sg m_S)                F fast, S slow, m margins against the common reference,
    L_S = L(S) - alpha C(sg m_F - m_S)                C the loss's own curve of a margin, beta |gap| at most 10

The fast one is pushed ahead, the slow one closes the gap; both extra terms enlarge the module's own margin. Every
``interval`` steps the module that has fitted better, by the mean of its own loss, is the fast one; the slow one's
learning rate is ``rate`` times the other's. What is shared in the end is the fast one.

Source: Qi et al. 2024 (arXiv 2406.05534), eq. 9 to 12, as a public implementation for Stable Diffusion has them, its
bound on the gap too; alpha, rate and interval are not published there, the defaults are ours.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from diffalign.losses import BoundLoss

FARTHEST = 10.0
"""``beta`` times the gap of the two margins beyond which nothing pulls."""


def chasing(loss: BoundLoss, fast: Tensor, slow: Tensor, alpha: float) -> tuple[Tensor, Tensor]:
    """The extra terms of the fast and of the slow module, ``(B,)`` each: ``(alpha C, -alpha C)`` of the gap, the other
    module's margin without gradient.

    Args:
        loss: A loss of one margin.
        fast: ``(B,)``, the fast module's margin.
        slow: ``(B,)``, the slow one's.
        alpha: Weight of the terms.
    """
    bound = FARTHEST / loss.beta

    def curve(gap: Tensor) -> Tensor:
        return loss.loss.function(gap.clamp(-bound, bound), **loss.own)

    return alpha * curve(fast - slow.detach()), -alpha * curve(fast.detach() - slow)


@dataclass
class FastSlow:
    """Who is fast, and what decides it.

    Args:
        alpha: Weight of the chasing terms.
        rate: The slow module's learning rate as a share of the fast one's.
        interval: Steps between two decisions.
        second: The second set of weights (see `policies.second`).
        second_is_fast: Whether it is the fast one.
        sums: Losses of the network's own set and of the second since the last decision.
        steps: Steps since then.
    """

    alpha: float
    rate: float
    interval: int
    second: Any
    second_is_fast: bool = False
    sums: Tensor = field(default_factory=lambda: torch.zeros(2))
    steps: int = 0

    def cost(self, loss: BoundLoss, own: Tensor, second: Tensor, losses: tuple[Tensor, Tensor]) -> Tensor:
        """``(B,)``: both modules' losses and what makes them chase each other. Each term reaches its own module alone.

        Args:
            loss: A loss of one margin.
            own: ``(B,)``, margin of the network's own set.
            second: ``(B,)``, margin of the second set.
            losses: Each set's own loss, ``(B,)``.
        """
        # Kept on the device: they are read when it is decided anew who is fast.
        met = torch.stack([value.detach().sum() for value in losses])
        self.sums = self.sums.to(met) + met
        fast, slow = (second, own) if self.second_is_fast else (own, second)
        ahead, behind = chasing(loss, fast, slow, self.alpha)
        return losses[0] + losses[1] + ahead + behind

    def stepped(self) -> None:
        """After an optimizer step: decides, where it is time, who is the fast one."""
        self.steps += 1
        if self.steps >= self.interval:
            self.second_is_fast = bool(self.sums[1] < self.sums[0])
            self.sums, self.steps = torch.zeros_like(self.sums), 0

    def slow_down(self, optimizer: Optimizer) -> None:
        """Writes the slow module's rate; the second set is the optimizer's second group."""
        slow = optimizer.param_groups[0 if self.second_is_fast else 1]
        slow["lr"] = slow["lr"] * self.rate

    @contextmanager
    def fast_activated(self) -> Iterator[None]:
        """Within the block the network is the fast module."""
        if not self.second_is_fast:
            yield
            return
        with self.second.activated():
            yield

    def commit(self) -> None:
        """The network is the fast module from now on."""
        if self.second_is_fast:
            with torch.no_grad():
                self.second.commit()

    def state(self) -> dict[str, Any]:
        """For a checkpoint."""
        return {"second_is_fast": self.second_is_fast, "sums": self.sums.tolist(), "steps": self.steps}

    def load_state(self, state: dict[str, Any]) -> None:
        """Puts a checkpoint's numbers back."""
        self.second_is_fast, self.steps = state["second_is_fast"], state["steps"]
        self.sums = torch.tensor(state["sums"], dtype=torch.float64)
