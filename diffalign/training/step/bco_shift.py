"""The BCO shift: where undesirable examples end and desirable ones begin, for losses that classify them (BCO).

    classes   d = (mean of R over desirable + mean of R over undesirable examples) / 2
    pooled    d = mean of R over all of them

over the logratios ``R`` of all examples of earlier steps, each with the policy of its step. So the shift of a step is
the same for its every micro-batch and on every process, and a resumed run continues with the same one.

Source: Jung et al. 2024 (arXiv 2404.04656), section 4: the midpoint makes the bound of their theorem tightest. Pooled
is what TRL does, except that TRL counts the current batch, too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from diffalign.losses import Objective
from diffalign.losses.logp_settings import SHIFT


def bco_shift_rule(loss: Objective) -> str:
    """Returns the rule that a loss's setting ``shift`` names; ``"classes"`` for a loss without one."""
    return next((str(term.loss.hyper[SHIFT]) for term in loss if SHIFT in term.loss.hyper), "classes")


class BcoShift:
    """Cumulative means of logratios, of desirable and of undesirable examples.

    Args:
        rule: ``"classes"`` or ``"pooled"``, the loss's setting ``shift``.
        device: Where the sums are kept: nothing waits for it until a checkpoint is written.
    """

    def __init__(self, rule: str = "classes", device: torch.device | str = "cpu") -> None:
        self.rule = rule
        dtype = torch.float32 if torch.device(device).type == "mps" else torch.float64
        self._totals = torch.zeros(2, 2, dtype=dtype, device=device)  # [desirable, undesirable] x [sum, count]

    def baseline(self) -> Tensor:
        """Returns the shift, a float32 scalar without gradient. 0 before any example; with examples of one kind only,
        their mean.
        """
        sums, counts = self._totals.unbind(1)
        pooled = sums.sum() / counts.sum().clamp(min=1.0)
        if self.rule == "pooled":
            return pooled.float()
        means = sums / counts.clamp(min=1.0)
        return torch.where((counts > 0).all(), means.mean(), pooled).float()

    @torch.no_grad()
    def update(
        self, logratios: Tensor, desirable: Tensor, reduce: Callable[[Tensor], Tensor] = lambda sums: sums
    ) -> None:
        """Adds the examples of a step, once its gradients are computed.

        Args:
            logratios: ``(B,)``, of this process's examples; those that are not finite are left out.
            desirable: ``(B,)`` of booleans.
            reduce: Sums a tensor over all processes; called once, by each of them.
        """
        ratios = logratios.detach().to(self._totals)
        good = desirable.to(ratios.device)
        kinds = torch.stack([good, ~good]) & ratios.isfinite()
        sums = torch.where(kinds, ratios, 0.0).sum(1)
        self._totals = self._totals + reduce(torch.stack([sums, kinds.sum(1).to(sums)], 1))

    def state(self) -> list[float]:
        """Returns what a checkpoint must hold: sum and count of the desirable examples, then of the others."""
        return self._totals.flatten().tolist()  # type: ignore[no-any-return]

    def load_state(self, state: Sequence[float]) -> None:
        """Restores the state of a checkpoint."""
        self._totals = self._totals.new_tensor(state).reshape(2, 2)
