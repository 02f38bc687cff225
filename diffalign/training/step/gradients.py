"""Computes the gradients of one optimizer step: the pairs of a batch, in micro-batches, over all processes.

    loss of a step = sum over its pairs of loss_b / batch_size

So batch 8, eight accumulated pairs, and two processes with four each give the same gradient.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from diffalign.data.records.pair import Pair
from diffalign.devices.halving import free_memory
from diffalign.devices.out_of_memory import is_out_of_memory
from diffalign.errors import RunError
from diffalign.losses import Objective
from diffalign.policies.policy import Policy, SupportsTokenCounts
from diffalign.training.step.batch_order import Visit, micro_batches, micro_batches_by_tokens, process_share
from diffalign.training.step.bco_shift import BcoShift
from diffalign.training.step.fast_slow import FastSlow
from diffalign.training.step.forward import BatchNumbers, in_microbatch_order
from diffalign.training.step.group_weights import group_weights
from diffalign.training.step.kto_baseline import kto_baseline
from diffalign.training.step.metrics import Metrics
from diffalign.training.step.micro_batch_step import Labeller, MicroBatchResult, micro_batch_step
from diffalign.training.step.skip_zero_weight_pairs import skip_pairs_without_gradient
from diffalign.training.step.step_stats import StepStats, local_sums, not_finite_error, step_stats


@dataclass
class GradientComputer:
    """Computes gradients; it does not call the optimizer.

    Args:
        accelerator: Devices, processes and precision.
        policy: The policy that is trained.
        parameters: The parameters that the optimizer steps.
        pairs: All pairs, by index.
        loss: The bound loss.
        label: Returns the labels of a batch.
        metrics: Collects the diagnostics of a log window.
        seed: Seed of all draws.
        micro_batch_size: Pairs in memory at once. Halved when the device runs out of memory.
        micro_batch_tokens: Of texts, tokens in memory at once in place of pairs. Halved likewise.
        max_grad_norm: Gradients are scaled down to this norm; None leaves them.
        draws: Draws per pair; log-probabilities are means over them.
        group_tau: Temperature of group-robust weights; None: all groups count alike.
        bco_shift: The running shift, for a loss that needs one.
        fast_slow: A fast and a slow adapter; None: there is one adapter.
        switches: What to type where one pair does not fit, a sentence without its full stop.
        messages: Sentences for the run's report, taken out by the loop.
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
    bco_shift: BcoShift = field(default_factory=BcoShift)
    fast_slow: FastSlow | None = None
    micro_batch_tokens: int | None = None
    switches: str = "Take a smaller model"
    messages: list[str] = field(default_factory=list)
    _in_backward: bool = False

    def gradients(self, batch: Sequence[Visit], step: int) -> StepStats:
        """Fills the parameters' gradients with those of a batch, clips them, and adds to the metrics.

        Raises:
            RunError: The loss or, without fp16's scaling, the gradient is not finite. Nothing has been stepped.
        """
        numbers = self.batch_numbers(self.pairs, batch)
        group_factors = None
        if self.group_tau is not None:
            group_factors = group_weights(self, self.pairs, batch, self.label, numbers, self.group_tau)
        local_batch = process_share(batch, self.accelerator.process_index, self.accelerator.num_processes)
        local_batch, skipped = skip_pairs_without_gradient(self.loss, self.label, self.pairs, local_batch)
        local_batch = in_microbatch_order(self.policy, self.pairs, local_batch)
        scale = self.accelerator.num_processes / len(batch)  # distributed gradients are means over processes
        while True:
            results: list[MicroBatchResult] = []
            try:
                pieces = self._cut(local_batch)
                for visits in pieces:
                    with self._synchronised(is_last=visits is pieces[-1]):
                        results.append(micro_batch_step(self, visits, scale, numbers, group_factors))
                break
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                self._check_that_halving_helps(max(map(len, pieces)), len(results) == len(pieces) - 1)
            self._halve_micro_batches()  # after `except`: by then the tensors of the failed attempt are freed
        self._share_second_adapter()
        self._update_running_state(results)
        norm = self.accelerator.clip_grad_norm_(self.parameters, self.max_grad_norm or float("inf"))
        stats = step_stats(self._summed(local_sums(results, skipped)), norm, len(batch))
        if stats.non_finite_losses or not (math.isfinite(stats.grad_norm) or self.accelerator.scaler is not None):
            ids = [self.pairs[index].id for index, _ in local_batch]
            raise not_finite_error(stats, results, ids, step)
        for result in results:
            self.metrics.add(result.rows)
        self.metrics.skip(skipped)
        return stats

    @property
    def has_second_adapter(self) -> bool:
        """Whether a second adapter is trained too."""
        return self.fast_slow is not None

    def batch_numbers(self, pairs: Sequence[Pair], batch: Sequence[Visit]) -> BatchNumbers:
        """Returns the numbers of a whole batch that the loss reads; the same on all processes."""
        share = None
        if "desirable_share" in self.loss.needs:
            desirable = sum(pairs[index].desirable for index, _ in batch)
            share = torch.tensor(desirable / len(batch), device=self.accelerator.device)
        return BatchNumbers(self.baseline(pairs, batch), share)

    def baseline(self, pairs: Sequence[Pair], batch: Sequence[Visit]) -> Tensor | None:
        """Returns the KTO baseline of a batch, or the BCO shift of earlier steps, where the loss needs one."""
        if "kto_baseline" in self.loss.needs:
            return kto_baseline(self, pairs, batch)
        if "bco_shift" in self.loss.needs:
            return self.bco_shift.baseline().to(self.accelerator.device)
        return None

    def _synchronised(self, is_last: bool) -> AbstractContextManager[Any]:
        """Within this block gradients are summed over processes only for the last micro-batch."""
        return nullcontext() if is_last else self.accelerator.no_sync(self.policy.module)

    def _cut(self, batch: Sequence[Visit]) -> list[Sequence[Visit]]:
        """Returns a batch in micro-batches of at most so many pairs, or so many tokens."""
        if self.micro_batch_tokens is None:
            return micro_batches(batch, self.micro_batch_size)
        assert isinstance(self.policy, SupportsTokenCounts)  # see schedule_batches
        counts = self.policy.token_counts([self.pairs[index] for index, _ in batch])
        return micro_batches_by_tokens(batch, counts, self.micro_batch_tokens)

    def backward(self, loss: Tensor) -> None:
        """Computes the gradients of a micro-batch."""
        self._in_backward = True
        self.accelerator.backward(loss)
        self._in_backward = False

    def _check_that_halving_helps(self, most: int, is_last: bool) -> None:
        """Raises RunError where a step cannot start over with smaller micro-batches: at one pair, and while the
        gradients of the last micro-batch are summed over processes, since the others wait for the rest of the sum.
        """
        in_backward, self._in_backward = self._in_backward, False
        if most <= 1:
            raise RunError(f"one pair does not fit into the device's memory. {self.switches}.") from None
        if self.accelerator.num_processes > 1 and is_last and in_backward:
            raise RunError(
                f"a micro-batch of {most} pairs does not fit into a device's memory. Type: --resume "
                f"--set train.micro_batch_size={most // 2} --set train.micro_batch_tokens=null"
            ) from None

    def _halve_micro_batches(self) -> None:
        self.micro_batch_size = max(1, self.micro_batch_size // 2)
        of = f"{self.micro_batch_size} pairs"
        if self.micro_batch_tokens is not None:
            self.micro_batch_tokens = max(1, self.micro_batch_tokens // 2)
            of = f"{self.micro_batch_tokens} tokens"
        for parameter in self.parameters:
            parameter.grad = None
        free_memory()
        self.messages.append(f"out of memory: micro-batches of {of} from now on; the effective batch stays")

    def _update_running_state(self, results: Sequence[MicroBatchResult]) -> None:
        """Adds a step to the BCO shift and to the losses of a fast and a slow adapter."""
        classified = [result.classified for result in results if result.classified is not None]
        if classified:
            logratios, desirable = (torch.cat(rows) for rows in zip(*classified, strict=True))
            self.bco_shift.update(logratios, desirable, self._summed)
        if self.fast_slow is not None:
            own = [result.adapter_losses for result in results if result.adapter_losses is not None]
            self.fast_slow.add_losses(self._summed(torch.stack(own).sum(0)))

    def _share_second_adapter(self) -> None:
        """Averages the gradients of a second adapter over processes, as the distributed wrapper does the first's."""
        if self.fast_slow is not None and self.accelerator.num_processes > 1:
            for parameter in self.fast_slow.second.parameters.values():
                gradient = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
                parameter.grad = self.accelerator.reduce(gradient, "mean")

    def _summed(self, sums: Tensor) -> Tensor:
        """Returns a tensor summed over all processes."""
        return self.accelerator.reduce(sums, "sum") if self.accelerator.num_processes > 1 else sums
