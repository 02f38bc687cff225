"""A loss with its hyperparameters: scores in, one number per example out. Made by `catalogue.Loss.bind`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from diffalign.losses.candidate_logps import upcast
from diffalign.losses.divergences import score_of
from diffalign.losses.pair_logps import PairLogps
from diffalign.losses.rewards import implicit_rewards
from diffalign.losses.settings import F_ALPHA, F_DIVERGENCE, LD_ALPHA, LOGP_SCALE, PER_TOKEN, SETTINGS

Hyper = Mapping[str, Any]


@dataclass(frozen=True)
class BoundLoss:
    """A row of the catalogue, its hyperparameters fixed.

    Args:
        loss: The row, a `catalogue.Loss`.
        hyper: Its hyperparameters and settings by name.
    """

    loss: Any
    hyper: Hyper

    def __call__(self, scores: PairLogps, offset: Tensor | None = None) -> Tensor:
        """``(B,)``, one loss per example, in float32 or better. Averaging belongs to the loop.

        Args:
            scores: The batch.
            offset: ``(B,)`` for a loss of one margin: how much reward the chosen candidate is known to be ahead, so
                that the policy owes it: taken off the margin, in units of ``1 / beta``.
        """
        if self.loss.takes != "margin":
            return self.loss.function(self.seen(scores), **self.own)  # type: ignore[no-any-return]
        margin = self.margin(scores)
        if offset is not None:
            margin = margin - offset.to(margin) / self.beta
        return self.loss.function(margin, **self.own)  # type: ignore[no-any-return]

    def seen(self, scores: PairLogps) -> PairLogps:
        """The scores as the function sees them, after the settings of `settings`. Rewards and margins are theirs."""
        if self.hyper.get(LD_ALPHA, 1.0) != 1.0:
            scores = scores.desensitised(self.hyper[LD_ALPHA])
        if self.hyper.get(PER_TOKEN):
            scores = scores.per_token()
        if (scale := self.hyper.get(LOGP_SCALE, 1.0)) != 1.0:
            scores = scores.scaled(torch.full_like(upcast(scores.chosen.logps), scale).detach())
        return scores

    def margin(self, scores: PairLogps) -> Tensor:
        """``(B,)``: the margin that the loss is a function of: of logratios, bent where a divergence says so."""
        seen, divergence = self.seen(scores), self.hyper.get(F_DIVERGENCE, "reverse_kl")
        if divergence == "reverse_kl":
            return seen.margin
        chosen, rejected = (score_of(x, divergence, self.hyper[F_ALPHA]) for x in seen.logratios)
        return chosen - rejected

    @property
    def name(self) -> str:
        """The row's name."""
        return self.loss.name  # type: ignore[no-any-return]

    @property
    def beta(self) -> float:
        """The inverse temperature; 1 for a loss without one."""
        return self.hyper.get("beta", 1.0)  # type: ignore[no-any-return]

    @property
    def at_zero(self) -> float | None:
        """The loss where the policy equals its reference, so at the first step of a fresh adapter; None: unknown."""
        return None if self.loss.at_zero is None else self.loss.at_zero(self.hyper)

    def rewards(self, scores: PairLogps) -> tuple[Tensor, Tensor | None]:
        """Implicit rewards ``(chosen, rejected)``, each ``(B,)``, without gradient; None for no rejected candidate."""
        return implicit_rewards(self.seen(scores), beta=self.beta, against_reference=self.loss.needs_reference)

    def slope(self, margin: Tensor) -> Tensor:
        """``(B,)``: derivative of each pair's loss by its margin: how hard the pair still pulls."""
        if self.loss.takes != "margin":
            raise ValueError(f"the loss '{self.name}' is no function of one margin, so it has no slope by it")
        with torch.enable_grad():
            leaf = upcast(margin).detach().clone().requires_grad_(True)
            total = self.loss.function(leaf, **self.own).sum()
        return torch.autograd.grad(total, leaf)[0]

    def saturation(self, scores: PairLogps) -> Tensor:
        """``(B,)``: ``|slope|`` relative to the slope at margin 0. Near 0 the pair no longer teaches anything."""
        margin = self.margin(scores).detach()
        return self.slope(margin).abs() / self.slope(torch.zeros_like(margin)).abs()

    @property
    def own(self) -> dict[str, Any]:
        """What the row's function takes: its hyperparameters without the settings that all losses share."""
        return {name: value for name, value in self.hyper.items() if name not in SETTINGS}
