"""From log-probabilities of tokens to log-probabilities of candidates, by role."""

from __future__ import annotations

import torch
from torch import Tensor

from diffalign.losses.candidate_logps import CandidateLogps
from diffalign.policies.divergence_and_mask_metrics import part_diagnostics
from diffalign.policies.language.network.content_degree_head import LogpsAndDegree
from diffalign.policies.language.scoring.batch import EncodedTexts
from diffalign.policies.policy import BatchLogps


def logps_by_role(
    token_logps: Tensor, encoded: EncodedTexts, divergence: Tensor | None = None, masks: Tensor | None = None
) -> BatchLogps:
    """Returns the log-probabilities of each role's candidates.

    The parts ``(B, L)`` are the scored tokens of each response in order, then zeros; so are divergences and masks.

    Args:
        token_logps: ``(N,)``, log-probabilities of the layout's scored tokens.
        encoded: The batch.
        divergence: ``(N,)``, divergence from the reference at each token.
        masks: ``(2, N)``, weights of each token.
    """
    layout = encoded.layout
    count, width = sum(layout.lengths), max(layout.lengths)
    rows, columns = layout.response_index[:count], layout.token_index[:count]

    def table(values: Tensor) -> Tensor:
        return values.new_zeros(layout.response_count, width).index_put((rows, columns), values[:count])

    parts = table(token_logps)
    divergence_table = None if divergence is None else table(divergence)
    mask_tables = None if masks is None else torch.stack([table(mask) for mask in masks])
    lengths = torch.tensor(layout.lengths, device=token_logps.device)
    sums = parts.sum(1)
    responses = torch.tensor(encoded.responses, device=token_logps.device)
    prompt_logps: list[Tensor | None] = [None] * responses.shape[1]
    if layout.prompt_lengths:
        groups = layout.response_index[count:] - layout.response_count
        group_logps = token_logps.new_zeros(len(layout.groups)).index_add(0, groups, token_logps[count:])
        prompt_logps = list(group_logps[torch.tensor(encoded.groups, device=token_logps.device)].unbind(1))
    candidates = [
        CandidateLogps(
            sums[role],
            parts[role],
            lengths[role],
            prompts=prompt,
            divergence=None if divergence_table is None else divergence_table[role],
            masks=None if mask_tables is None else mask_tables[:, role],
        )
        for role, prompt in zip(responses.unbind(1), prompt_logps, strict=True)
    ]
    return BatchLogps(tuple(candidates), part_diagnostics(candidates))


def logps_and_degree_by_role(output: LogpsAndDegree, encoded: EncodedTexts) -> tuple[BatchLogps, Tensor]:
    """Returns the log-probabilities of each role's candidates, with the accuracy of the degree head among the
    diagnostics; and ``(B,)`` the mean log-probability of the right degrees of a pair's answers.
    """
    batch_logps = logps_by_role(output.logps, encoded)
    responses = torch.tensor(encoded.responses, device=output.cost.device)
    info = {**batch_logps.info, "degree/accuracy": output.accuracy[responses].mean(1).detach()}
    return BatchLogps(batch_logps.candidates, info), -output.cost[responses].mean(1)
