"""One micro-batch of an optimizer step: log-probabilities, labels, loss terms by name, backward pass."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor

from diffalign.data.records.pair import Pair
from diffalign.labels import Label, expected_terms, swapped_by
from diffalign.losses import Objective, PairLogps
from diffalign.training.step.batch_order import Visit
from diffalign.training.step.fast_slow import FastSlow
from diffalign.training.step.forward import BatchNumbers, ForwardContext, pair_logps
from diffalign.training.step.gate_votes import with_gate_votes
from diffalign.training.step.micro_batch_metrics import Rows, metric_rows

Labeller = Callable[[Sequence[Pair]], Label]


class StepContext(ForwardContext, Protocol):
    """The parts of a run that a step with gradients needs."""

    pairs: Sequence[Pair]
    fast_slow: FastSlow | None

    @property
    def label(self) -> Labeller:
        """Returns the labels of a batch."""

    def backward(self, loss: Tensor) -> None:
        """Computes the gradients of a micro-batch."""


@dataclass(frozen=True)
class MicroBatchResult:
    """The numbers that a micro-batch leaves besides its gradients. None of them carries a gradient.

    Args:
        losses: ``(B,)``, one per pair.
        rows: Metrics of each pair by name.
        chosen_change: ``(2,)``, of a denoiser: sum of the errors of the candidates to be learnt minus the reference's,
            and their number.
        classified: Logratios and which examples are desirable, ``(B,)`` each, for a loss with a BCO shift.
        adapter_losses: ``(2,)``, the summed losses of a fast and a slow adapter, where there are two.
    """

    losses: Tensor
    rows: Rows
    chosen_change: Tensor | None = None
    classified: tuple[Tensor, Tensor] | None = None
    adapter_losses: Tensor | None = None


def micro_batch_step(
    run: StepContext,
    visits: Sequence[Visit],
    scale: float,
    numbers: BatchNumbers,
    group_factors: Mapping[str, float] | None,
) -> MicroBatchResult:
    """Adds the gradients of a micro-batch to those of the parameters.

    Args:
        run: Policy, loss, labels, precision and seed.
        visits: The micro-batch.
        scale: Factor on the sum of its losses.
        numbers: Numbers of the whole batch, where the loss needs any.
        group_factors: Factors on the losses of each group's pairs; None for 1.
    """
    pairs, visit_numbers = [run.pairs[index] for index, _ in visits], [visit for _, visit in visits]
    label = with_gate_votes(run, _weighted_by_group(run.label(pairs), pairs, group_factors), pairs, visit_numbers)
    logps, info = pair_logps(run, pairs, visit_numbers, numbers)
    adapter_losses = None
    if run.fast_slow is None:
        loss = expected_terms(run.loss, logps, label)
    else:
        loss, adapter_losses, info["fast_slow/gap"] = run.fast_slow.loss_of_both(run.loss, logps, label)
    run.backward(loss.total.sum() * scale)
    if label.gate is not None:
        info["gate"] = label.gate(logps.detach())
    return MicroBatchResult(
        losses=loss.total.detach(),
        rows=metric_rows(run.loss, swapped_by(logps, label), loss, info),
        chosen_change=_chosen_change(logps) if "level" in info and run.loss.needs_reference else None,
        classified=_classified(run.loss, logps),
        adapter_losses=adapter_losses,
    )


def _weighted_by_group(label: Label, pairs: Sequence[Pair], factors: Mapping[str, float] | None) -> Label:
    if factors is None:
        return label
    factor = torch.tensor([factors[pair.group] for pair in pairs], dtype=label.weight.dtype)
    return replace(label, weight=label.weight * factor)


def _chosen_change(logps: PairLogps) -> Tensor:
    change = -2.0 * logps.chosen_logratio.detach()  # of a denoiser: logp = -error / 2
    desirable = torch.ones_like(change) if logps.desirable is None else logps.desirable.to(change)
    return torch.stack([(change * desirable).sum(), desirable.sum()])


def _classified(loss: Objective, logps: PairLogps) -> tuple[Tensor, Tensor] | None:
    if "bco_shift" not in loss.needs or logps.desirable is None:
        return None
    return logps.chosen_logratio.detach(), logps.desirable
