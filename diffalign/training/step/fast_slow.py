"""Fast and slow adapters: two adapters of one base, each driven by the other's margin, so that neither margin stops
growing (OFS-DPO).

    L_F = L(F) + alpha C(m_F - sg m_S)                F fast, S slow, m margins against the common reference,
    L_S = L(S) - alpha C(sg m_F - m_S)                C the loss's own curve of a margin, beta |gap| at most 10

The fast adapter is pushed ahead, the slow one closes the gap; both extra terms enlarge the adapter's own margin. Every
``interval`` steps the adapter with the smaller mean loss becomes the fast one. The slow adapter's learning rate is
``rate`` times the other's. The result of a run is the fast adapter.

Source: Qi et al. 2024 (arXiv 2406.05534), eq. 9 to 12, as a public implementation for Stable Diffusion has them, with
its bound on the gap; alpha, rate and interval are not published there, the defaults are ours.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from diffalign.labels import ExpectedLoss, Label, expected_terms, swapped_by
from diffalign.losses import BoundLoss, Objective, PairLogps

MAX_SCALED_GAP = 10.0
"""The largest ``beta`` times the gap of the two margins at which the gap terms have a gradient."""
GAP = "fast_slow"
"""Name of the two gap terms' sum among the terms of a loss."""


def gap_terms(loss: BoundLoss, fast: Tensor, slow: Tensor, alpha: float) -> tuple[Tensor, Tensor]:
    """Returns the extra terms of the fast and of the slow adapter, ``(B,)`` each: ``(alpha C, -alpha C)`` of the gap,
    the other adapter's margin without gradient.

    Args:
        loss: A loss of one margin.
        fast: ``(B,)``, the fast adapter's margin.
        slow: ``(B,)``, the slow adapter's margin.
        alpha: Weight of the terms.
    """
    bound = MAX_SCALED_GAP / loss.beta

    def curve(gap: Tensor) -> Tensor:
        return loss.loss.function(gap.clamp(-bound, bound), **loss.arguments)

    return alpha * curve(fast - slow.detach()), -alpha * curve(fast.detach() - slow)


@dataclass
class FastSlow:
    """Keeps track of which adapter is the fast one.

    Args:
        alpha: Weight of the gap terms.
        rate: The slow adapter's learning rate as a share of the fast one's.
        interval: Steps between two decisions.
        second: The second adapter (see `policies.second_adapter`).
        second_is_fast: Whether it is the fast one.
        sums: Summed losses of the first and of the second adapter since the last decision.
        steps: Steps since the last decision.
    """

    alpha: float
    rate: float
    interval: int
    second: Any
    second_is_fast: bool = False
    sums: Tensor = field(default_factory=lambda: torch.zeros(2))
    steps: int = 0

    def loss_of_both(self, loss: Objective, logps: PairLogps, label: Label) -> tuple[ExpectedLoss, Tensor, Tensor]:
        """Returns the loss of both adapters with their gap terms. Each summand has a gradient in one adapter only.

        Args:
            loss: Losses of one margin.
            logps: The batch under the first adapter, with the second one's among the ``extra_models``.
            label: The batch's labels.

        Returns:
            The loss of each pair; ``(2,)``, each adapter's own loss, summed; ``(B,)``, ``beta`` times the gap of the
            margins.
        """
        chosen, rejected = logps.extra_models["second"]
        second_logps = replace(logps, chosen=chosen, rejected=rejected)
        first = expected_terms(loss, logps, label)
        margins = [loss.lead.margin(swapped_by(side, label)) for side in (logps, second_logps)]
        gap = (margins[0] - margins[1]).detach().abs() * loss.beta
        second = expected_terms(loss, second_logps, label)
        fast, slow = reversed(margins) if self.second_is_fast else margins
        fast_term, slow_term = gap_terms(loss.lead, fast, slow, self.alpha)
        terms = {name: value + second.terms[name] for name, value in first.terms.items()}
        terms[GAP] = (fast_term + slow_term).detach()
        own_losses = torch.stack([side.total.detach().sum() for side in (first, second)])
        return ExpectedLoss(first.total + second.total + fast_term + slow_term, terms), own_losses, gap

    def add_losses(self, own_losses: Tensor) -> None:
        """Adds ``(2,)``, each adapter's summed loss. The sums stay on the device until the next decision."""
        self.sums = self.sums.to(own_losses) + own_losses

    def after_step(self) -> None:
        """Counts an optimizer step, and after every ``interval`` of them decides which adapter is the fast one."""
        self.steps += 1
        if self.steps >= self.interval:
            self.second_is_fast = bool(self.sums[1] < self.sums[0])
            self.sums, self.steps = torch.zeros_like(self.sums), 0

    def reduce_slow_rate(self, optimizer: Optimizer) -> None:
        """Writes the slow adapter's learning rate; the second adapter is the optimizer's second group."""
        slow = optimizer.param_groups[0 if self.second_is_fast else 1]
        slow["lr"] = slow["lr"] * self.rate

    @contextmanager
    def fast_activated(self) -> Iterator[None]:
        """Within this block the network computes with the fast adapter."""
        if not self.second_is_fast:
            yield
            return
        with self.second.activated():
            yield

    def commit(self) -> None:
        """Makes the fast adapter the network's own, for good."""
        if self.second_is_fast:
            with torch.no_grad():
                self.second.commit()

    def state(self) -> dict[str, Any]:
        """Returns what a checkpoint must hold."""
        return {"second_is_fast": self.second_is_fast, "sums": self.sums.tolist(), "steps": self.steps}

    def load_state(self, state: dict[str, Any]) -> None:
        """Restores the state of a checkpoint."""
        self.second_is_fast, self.steps = state["second_is_fast"], state["steps"]
        self.sums = torch.tensor(state["sums"], dtype=torch.float64)
