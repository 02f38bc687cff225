"""Group-robust weights: the groups with the largest loss count most.

    q_u = softmax over the groups of (L_u / tau),      L_u the mean loss of group u in the batch
    loss of a step = sum_u q_u L_u,                    so a pair of group u weighs q_u batch / (pairs of u in the batch)

``tau`` towards 0 gives the worst group only, a large one the mean over groups. The means run over the whole effective
batch, over all processes and micro-batches, before the first gradient, and carry none: this costs one more forward
pass, and eight pairs at once, eight accumulated and two processes with four each get the same weights.

Sources: the max-min objective: Chakraborty et al. 2024 (arXiv 2402.08925); weighing groups of offline pairs by their
loss: Ramesh et al. 2024 (arXiv 2405.20304), whose weights move by steps where these are the batch's own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from diffalign.data.records.pair import Pair
from diffalign.labels import Label, expected
from diffalign.training.step.batch_order import Visit, micro_batches, process_share
from diffalign.training.step.forward import BatchNumbers, ForwardContext, in_microbatch_order, pair_logps
from diffalign.training.step.gate_votes import with_gate_votes


def robust_weights(losses: Tensor, groups: Sequence[str], tau: float) -> dict[str, float]:
    """Returns the factor on the loss of each group's pairs.

    Args:
        losses: ``(B,)``, each pair's loss.
        groups: Their ``B`` groups.
        tau: Temperature, > 0.

    Returns:
        By group ``q_u B / B_u``; the factors of a batch's pairs have the mean 1.
    """
    names = sorted(set(groups))
    group_of = torch.tensor([names.index(group) for group in groups])
    counts = torch.bincount(group_of, minlength=len(names)).to(torch.float64)
    sums = torch.zeros(len(names), dtype=torch.float64).index_add_(0, group_of, losses.to("cpu", torch.float64))
    q = torch.softmax(sums / counts / tau, 0)
    return dict(zip(names, (q * len(groups) / counts).tolist(), strict=True))


@torch.no_grad()
def group_weights(
    run: ForwardContext,
    pairs: Sequence[Pair],
    batch: Sequence[Visit],
    label: Callable[[Sequence[Pair]], Label],
    numbers: BatchNumbers,
    tau: float,
) -> dict[str, float]:
    """Returns the factors of a batch, the same on all processes.

    Args:
        run: Policy, loss, precision and seed.
        pairs: The examples, by index.
        batch: The whole batch, over all processes.
        label: Returns the labels of pairs.
        numbers: Numbers of the whole batch, where the loss needs any.
        tau: Temperature.
    """
    device = run.accelerator.device
    losses = torch.zeros(len(batch), dtype=torch.float32 if device.type == "mps" else torch.float64, device=device)
    place_of = {visit: k for k, visit in enumerate(batch)}
    local_batch = process_share(batch, run.accelerator.process_index, run.accelerator.num_processes)
    for visits in micro_batches(in_microbatch_order(run.policy, pairs, local_batch), run.micro_batch_size):
        examples = [pairs[index] for index, _ in visits]
        visit_numbers = [visit for _, visit in visits]
        labelled = with_gate_votes(run, label(examples), examples, visit_numbers)
        logps, _ = pair_logps(run, examples, visit_numbers, numbers)
        places = torch.tensor([place_of[visit] for visit in visits], device=device)
        losses[places] = expected(run.loss, logps, labelled).to(losses)
    if run.accelerator.num_processes > 1:
        losses = run.accelerator.reduce(losses, "sum")
    return robust_weights(losses, [pairs[index].group for index, _ in batch], tau)
