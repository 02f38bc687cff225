"""The reference point: what counts as neither gain nor loss, for losses that weigh single examples against one (KTO).

    z = max(0, mean over the batch of log pi(y' | x) / pi_ref(y' | x)),      y' the answer to another prompt

Answers that do not belong to a prompt tell how far the policy has moved as a whole. The mean runs over the whole
effective batch, over all processes and micro-batches, before the first gradient: so eight examples at once, eight
accumulated, and two processes with four each measure from the same point. It carries no gradient.

Source: Ethayarajh et al. 2024 (arXiv 2402.01306), section 4. Which other answer is taken is left open there; here a
prompt gets the answer of the example before it, the first one that of the last, as in TRL. (Diffusion-KTO takes the
examples' own candidates by default.)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from diffalign.data.records.lazy import LazyPairs
from diffalign.data.records.pair import Pair
from diffalign.training.step.batch_order import Visit, micro_batches, process_share
from diffalign.training.step.forward import ForwardContext, in_microbatch_order, pair_logps


class Stray(NamedTuple):
    """A prompt with another's answer: the index of each, and the visit of the prompt's example."""

    prompt: int
    answer: int
    visit: int


def mismatched_pairs(batch: Sequence[Visit]) -> list[Stray]:
    """Each visit's prompt with the answer of the visit before it. One visit alone has no other: there is none then."""
    if len(batch) < 2:
        return []
    before = [batch[-1], *batch[:-1]]
    return [Stray(index, other, visit) for (index, visit), (other, _) in zip(batch, before, strict=True)]


class MismatchedPairs(LazyPairs):
    """Strays as examples, by names of their own: draws and caches are keyed by them.

    Args:
        pairs: The examples.
        strays: Which prompts and answers of theirs.
    """

    def __init__(self, pairs: Sequence[Pair], mismatched_pairs: Sequence[Stray]) -> None:
        self._pairs, self._strays = pairs, mismatched_pairs

    def __len__(self) -> int:
        return len(self._strays)

    def at(self, index: int) -> Pair:
        stray = self._strays[index]
        prompt, answer = self._pairs[stray.prompt], self._pairs[stray.answer]
        return replace(prompt, id=f"{prompt.id} with {answer.id}", chosen=answer.chosen, scores={})


@torch.no_grad()
def kto_baseline(run: ForwardContext, pairs: Sequence[Pair], batch: Sequence[Visit]) -> Tensor:
    """The point of a batch, a float32 scalar on the device, the same on all processes; 0 where nothing can be measured.

    Args:
        run: Policy, loss, precision and seed.
        pairs: The examples, by index.
        batch: The whole batch, over all processes, in an order that does not depend on their number.
    """
    all_of_it = mismatched_pairs(batch)
    mine = process_share(all_of_it, run.accelerator.process_index, run.accelerator.num_processes)
    found = MismatchedPairs(pairs, mine)
    device = run.accelerator.device
    total = torch.zeros((), dtype=torch.float32 if device.type == "mps" else torch.float64, device=device)
    for micro in micro_batches(
        in_microbatch_order(run.policy, found, [(k, stray.visit) for k, stray in enumerate(mine)]), run.micro_batch_size
    ):
        scores, _ = pair_logps(run, [found[index] for index, _ in micro], [visit for _, visit in micro])
        total += scores.chosen_logratio.to(total).sum()
    if run.accelerator.num_processes > 1:
        total = run.accelerator.reduce(total, "sum")
    return (total / max(1, len(all_of_it))).clamp(min=0.0).float()
