"""One optimizer step's gradients: the pairs of a batch, in micro-batches, over all processes.

    loss of a step = sum over its pairs of loss_b / batch_size

so batch 8, eight accumulated pairs, and two processes with four each give the same gradient.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from diffalign.data.records.pair import Pair
from diffalign.errors import RunError
from diffalign.labels import Label, expected, swapped_by, without_gradient
from diffalign.losses import Objective, PairLogps
from diffalign.policies.policy import Policy
from diffalign.training.step.batch_order import Visit, micro_batches, process_share
from diffalign.training.step.bco_shift import BcoShift
from diffalign.training.step.fast_slow import FastSlow
from diffalign.training.step.forward import in_microbatch_order, pair_logps
from diffalign.training.step.group_weights import group_weights
from diffalign.training.step.kto_baseline import kto_baseline
from diffalign.training.step.metrics import Metrics
from diffalign.training.step.spike_guard import StepStats

Labeller = Callable[[Sequence[Pair]], Label]


@dataclass
class GradientComputer:
    """Computes gradients; steps nothing.

    Args:
        accelerator: Devices, processes and precision.
        policy: What is trained.
        parameters: What the optimizer steps.
        pairs: All pairs, by index.
        loss: The bound loss.
        label: Labels of a batch.
        metrics: Where diagnostics go.
        seed: Of all draws.
        micro_batch_size: Pairs in memory at once. Halved when the device runs out of memory.
        max_grad_norm: Gradients are scaled down to this norm; None leaves them.
        draws: At how many draws each pair is scored; the scores are means over them.
        group_tau: Temperature of group-robust weights; None: all groups count alike.
        shift: The running reference point, for a loss that needs one.
        fast_slow: Two sets of weights that chase each other; None: there is one.
    """

    accelerator: Any
    policy: Policy
    parameters: list[nn.Parameter]
    pairs: Sequence[Pair]
    loss: Objective
    label: Labeller
    metrics: Metrics
    seed: int
    micro_batch_size: int
    max_grad_norm: float | None
    draws: int = 1
    group_tau: float | None = None
    shift: BcoShift = field(default_factory=BcoShift)
    factors: dict[str, float] | None = None
    fast_slow: FastSlow | None = None
    messages: list[str] = field(default_factory=list)

    def gradients(self, batch: Sequence[Visit], step: int) -> StepStats:
        """Fills the parameters' gradients with those of a batch.

        Raises:
            RunError: The loss or, without fp16's scaling, the gradient is not finite. Nothing has been stepped.
        """
        point = self.baseline(self.pairs, batch)
        if self.group_tau is not None:
            self.factors = group_weights(self, self.pairs, batch, self.label, point, self.group_tau)
        mine = process_share(batch, self.accelerator.process_index, self.accelerator.num_processes)
        mine, known = self.teaching(mine)
        mine = in_microbatch_order(self.policy, self.pairs, mine)
        losses, changes = self._accumulate(mine, len(batch), point)
        self.metrics.skip(known)
        norm = self.accelerator.clip_grad_norm_(self.parameters, self.max_grad_norm or float("inf"))
        bad = (~torch.isfinite(losses)).sum().to(losses.dtype)
        total = losses.sum() + float(known.sum())
        changed, scored = changes.to(bad) if changes is not None else (bad * 0, bad * 0)
        sums = self._summed(torch.stack([total, bad, changed, scored]))
        # The step's only wait for the device.
        total, bad_count, changed, scored, grad_norm = torch.cat([sums, norm.reshape(1).to(sums)]).tolist()
        finite_norm = math.isfinite(grad_norm) or self.accelerator.scaler is not None
        if bad_count or not finite_norm:
            self._stop(step, mine, losses, gradient=not bad_count)
        change = changed / scored if scored else None
        return StepStats(loss=total / len(batch), grad_norm=grad_norm, chosen_change=change)

    @property
    def has_second_adapter(self) -> bool:
        """Whether a second set of weights is trained and asked."""
        return self.fast_slow is not None

    def baseline(self, pairs: Sequence[Pair], batch: Sequence[Visit]) -> Tensor | None:
        """The reference point of a batch, where the loss measures from one: of the batch itself, or the running one."""
        if "kto_baseline" in self.loss.needs:
            return kto_baseline(self, pairs, batch)
        if "bco_shift" in self.loss.needs:
            return self.shift.baseline().to(self.accelerator.device)
        return None

    def teaching(self, visits: Sequence[Visit]) -> tuple[Sequence[Visit], Tensor]:
        """The visits that teach, and the losses of the others, which are known: a scale or a weight of exactly 0 makes
        a constant of the loss and zero of its gradient, so that leaving the pair out is exact."""
        at_zero, label = self.loss.at_zero, self.label([self.pairs[index] for index, _ in visits])
        still = without_gradient(label)
        if at_zero is None or not bool(still.any()):
            return visits, label.weight[:0]
        loud = [visit for visit, is_still in zip(visits, still.tolist(), strict=True) if not is_still]
        if not loud:  # one is scored all the same: other processes wait for a gradient
            loud, still[0] = [visits[0]], False
        return loud, label.weight[still] * at_zero

    def _accumulate(self, mine: Sequence[Visit], total: int, point: Tensor | None) -> tuple[Tensor, Tensor | None]:
        kept = self.metrics.sums, self.metrics.pairs
        while True:
            try:
                return self._forward_backward(micro_batches(mine, self.micro_batch_size), total, point)
            except torch.OutOfMemoryError:
                # Another process would still wait for this one's gradients, so only a single process can start over.
                if self.accelerator.num_processes > 1 or self.micro_batch_size == 1:
                    raise RunError(_out_of_memory(self.micro_batch_size)) from None
            self.micro_batch_size //= 2
            self.metrics.sums, self.metrics.pairs = kept
            for parameter in self.parameters:
                parameter.grad = None
            torch.cuda.empty_cache()
            self.messages.append(
                f"out of memory: micro-batches of {self.micro_batch_size} pairs from now on; the effective batch stays"
            )

    def _forward_backward(
        self, micros: list[Sequence[Visit]], total: int, point: Tensor | None
    ) -> tuple[Tensor, Tensor | None]:
        """The losses, and of a denoiser the sum and the number of its changes of error on what shall be learnt."""
        scale = self.accelerator.num_processes / total  # distributed gradients are means over processes
        losses, changes = [], []
        seen: list[tuple[Tensor, Tensor]] = []
        for k, micro in enumerate(micros):
            last = k == len(micros) - 1
            with nullcontext() if last else self.accelerator.no_sync(self.policy.module):
                pairs = [self.pairs[index] for index, _ in micro]
                scores, info = pair_logps(self, pairs, [visit for _, visit in micro], point)
                label = self.label(pairs)
                if self.factors is not None:
                    factor = torch.tensor([self.factors[pair.group] for pair in pairs], dtype=label.weight.dtype)
                    label = replace(label, weight=label.weight * factor)
                loss = self._cost(scores, label, info)
                self.accelerator.backward(loss.sum() * scale)
            if "bco_shift" in self.loss.needs and scores.desirable is not None:
                seen.append((scores.chosen_logratio.detach(), scores.desirable))
            if label.gate is not None:
                info["gate"] = label.gate(scores.detach())
            self.metrics.add(swapped_by(scores, label), loss.detach(), info)
            losses.append(loss.detach())
            if "level" in info and self.loss.needs_reference:
                change = -2.0 * scores.chosen_logratio.detach()
                learnt = torch.ones_like(change) if scores.desirable is None else scores.desirable.to(change)
                changes.append(torch.stack([(change * learnt).sum(), learnt.sum()]))
        if seen:
            logratios, desirable = (torch.cat(rows) for rows in zip(*seen, strict=True))
            self.shift.update(logratios, desirable, self._summed)
        return torch.cat(losses), torch.stack(changes).sum(dim=0) if changes else None

    def _cost(self, scores: PairLogps, label: Label, info: dict[str, Tensor]) -> Tensor:
        """``(B,)``: the loss under the label; where two sets of weights chase each other, of both."""
        first = expected(self.loss, scores, label)
        if self.fast_slow is None:
            return first
        chosen, rejected = scores.extra_models["second"]
        other = replace(scores, chosen=chosen, rejected=rejected)
        own, second = (self.loss.lead.margin(swapped_by(found, label)) for found in (scores, other))
        info["fast_slow/gap"] = (own - second).detach().abs() * self.loss.beta
        return self.fast_slow.cost(self.loss.lead, own, second, (first, expected(self.loss, other, label)))

    def _summed(self, sums: Tensor) -> Tensor:
        """A tensor summed over all processes."""
        return self.accelerator.reduce(sums, "sum") if self.accelerator.num_processes > 1 else sums

    def _stop(self, step: int, mine: Sequence[Visit], losses: Tensor, gradient: bool) -> None:
        found = [
            self.pairs[index].id for (index, _), ok in zip(mine, torch.isfinite(losses).tolist(), strict=True) if not ok
        ]
        what = "the gradient is" if gradient else "the loss is"
        who = "no single pair alone is to blame" if gradient else f"pairs {', '.join(found) or 'of another process'}"
        raise RunError(
            f"{what} not a finite number at step {step + 1} ({who}). Nothing was stepped: the last checkpoint is good. "
            "Look at these pairs with `diffalign data check`, lower train.learning_rate, or raise the precision "
            "(--set train.mixed_precision=no); then go on with --resume."
        )


def _out_of_memory(micro: int) -> str:
    if micro == 1:
        return (
            "one pair does not fit into the device's memory. Type: --set train.gradient_checkpointing=true, "
            "--set train.mixed_precision=bf16 or a smaller --set model.resolution"
        )
    typed = f"--set train.micro_batch_size={micro // 2}"
    return f"micro-batches of {micro} pairs do not fit into a device's memory. Type: {typed}"
