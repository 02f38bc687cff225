"""The KTO baseline: the logratio that counts as neither gain nor loss, for losses on single examples (KTO).

    z = max(0, mean over the batch of log pi(y' | x) / pi_ref(y' | x)),      y' the answer to another prompt

Answers that belong to another prompt show how far the policy has moved as a whole. The mean runs over the whole
effective batch, over all processes and micro-batches, before the first gradient: so eight examples at once, eight
accumulated, and two processes with four each have the same baseline. It carries no gradient.

Source: Ethayarajh et al. 2024 (arXiv 2402.01306), section 4. Which other answer is taken is left open there; here a
prompt gets the answer of the example before it, the first one that of the last, as in TRL, but never its own, also
where a batch spans two epochs and has an example twice. (Diffusion-KTO takes the examples' own candidates by default.)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from diffalign.data.records.lazy_pairs import LazyPairs
from diffalign.data.records.pair import Pair
from diffalign.training.step.batch_order import Visit, micro_batches, process_share
from diffalign.training.step.forward import ForwardContext, in_microbatch_order, pair_logps


class Mismatch(NamedTuple):
    """A prompt with another example's answer: the index of each, and the visit of the prompt's example."""

    prompt: int
    answer: int
    visit: int


def mismatched_pairs(batch: Sequence[Visit], size: int) -> list[Mismatch]:
    """Returns each visit's prompt with the answer of the nearest visit before it, in a circle, of another example.

    A batch that holds one example only gets the answer of the next one in the set; a set of one example has none.

    Args:
        batch: The whole batch.
        size: The number of examples in the set.
    """
    indices = [index for index, _ in batch]
    if len(set(indices)) == 1:
        return [Mismatch(index, (index + 1) % size, visit) for index, visit in batch if size > 1]
    found = []
    for k, (index, visit) in enumerate(batch):
        before = (indices[k - back] for back in range(1, len(batch)))
        found.append(Mismatch(index, next(other for other in before if other != index), visit))
    return found


class MismatchedPairs(LazyPairs):
    """Mismatches as examples. Their ids differ from those of the pairs: draws and caches are keyed by ids.

    Args:
        pairs: The examples.
        mismatches: The prompts and answers of theirs that are joined.
    """

    def __init__(self, pairs: Sequence[Pair], mismatches: Sequence[Mismatch]) -> None:
        self._pairs, self._mismatches = pairs, mismatches

    def __len__(self) -> int:
        return len(self._mismatches)

    def at(self, index: int) -> Pair:
        """Returns one example."""
        mismatch = self._mismatches[index]
        prompt, answer = self._pairs[mismatch.prompt], self._pairs[mismatch.answer]
        return replace(prompt, id=f"{prompt.id} with {answer.id}", chosen=answer.chosen, scores={})


@torch.no_grad()
def kto_baseline(run: ForwardContext, pairs: Sequence[Pair], batch: Sequence[Visit]) -> Tensor:
    """Returns the baseline of a batch, a float32 scalar on the device, the same on all processes; 0 for a set of one
    example.

    Args:
        run: Policy, loss, precision and seed.
        pairs: The examples, by index.
        batch: The whole batch, over all processes, in an order that does not depend on their number.
    """
    mismatches = mismatched_pairs(batch, len(pairs))
    local = process_share(mismatches, run.accelerator.process_index, run.accelerator.num_processes)
    examples = MismatchedPairs(pairs, local)
    visits = in_microbatch_order(run.policy, examples, [(k, mismatch.visit) for k, mismatch in enumerate(local)])
    device = run.accelerator.device
    total = torch.zeros((), dtype=torch.float32 if device.type == "mps" else torch.float64, device=device)
    for micro_batch in micro_batches(visits, run.micro_batch_size):
        logps, _ = pair_logps(run, [examples[index] for index, _ in micro_batch], [visit for _, visit in micro_batch])
        total += logps.chosen_logratio.to(total).sum()
    if run.accelerator.num_processes > 1:
        total = run.accelerator.reduce(total, "sum")
    return (total / max(1, len(mismatches))).clamp(min=0.0).float()
