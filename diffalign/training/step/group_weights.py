"""Group-robust weights: the groups that the policy serves worst count most.

    q_u = softmax over the groups of (L_u / tau),      L_u the mean loss of group u in the batch
    loss of a step = sum_u q_u L_u,                    so a pair of group u weighs q_u batch / (pairs of u in the batch)

``tau`` towards 0 is the worst group alone, a large one the mean over groups. The means run over the whole effective
batch, over all processes and micro-batches, before the first gradient, and carry none: one forward pass more, and eight
pairs at once, eight accumulated and two processes with four each weigh alike.

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
from diffalign.training.step.forward import ForwardContext, in_microbatch_order, pair_logps


def robust_weights(losses: Tensor, groups: Sequence[str], tau: float) -> dict[str, float]:
    """The factor on the loss of each group's pairs.

    Args:
        losses: ``(B,)``, each pair's loss.
        groups: Their ``B`` groups.
        tau: Temperature, > 0.

    Returns:
        By group ``q_u B / B_u``; the factors of a batch's pairs have the mean 1.
    """
    names = sorted(set(groups))
    where = torch.tensor([names.index(group) for group in groups])
    counts = torch.bincount(where, minlength=len(names)).to(torch.float64)
    sums = torch.zeros(len(names), dtype=torch.float64).index_add_(0, where, losses.to("cpu", torch.float64))
    q = torch.softmax(sums / counts / tau, 0)
    return dict(zip(names, (q * len(groups) / counts).tolist(), strict=True))


@torch.no_grad()
def group_weights(
    run: ForwardContext,
    pairs: Sequence[Pair],
    batch: Sequence[Visit],
    label: Callable[[Sequence[Pair]], Label],
    point: Tensor | None,
    tau: float,
) -> dict[str, float]:
    """The factors of a batch, the same on all processes.

    Args:
        run: Policy, loss, precision and seed.
        pairs: The examples, by index.
        batch: The whole batch, over all processes.
        label: Labels of a batch.
        baseline: The batch's reference point, where the loss needs one.
        tau: Temperature.
    """
    device = run.accelerator.device
    found = torch.zeros(len(batch), dtype=torch.float32 if device.type == "mps" else torch.float64, device=device)
    places = {visit: k for k, visit in enumerate(batch)}
    mine = process_share(batch, run.accelerator.process_index, run.accelerator.num_processes)
    for micro in micro_batches(in_microbatch_order(run.policy, pairs, mine), run.micro_batch_size):
        chosen = [pairs[index] for index, _ in micro]
        scores, _ = pair_logps(run, chosen, [visit for _, visit in micro], point)
        losses = expected(run.loss, scores, label(chosen)).to(found)
        found[torch.tensor([places[visit] for visit in micro], device=device)] = losses
    if run.accelerator.num_processes > 1:
        found = run.accelerator.reduce(found, "sum")
    return robust_weights(found, [pairs[index].group for index, _ in batch], tau)
