"""Hidden states of responses: what the network computes for each answer before its output head.

With ``h_k`` the last state (after the final norm) that predicts token k of a response, so that ``h_1`` is the state at
the last token of the prompt and the state at the last token of the response is not among them:

    total = sum_k h_k       k = 1 .. length
    mean  = the mean of the states *at* the scored tokens
    last  = the state at the last scored token
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from diffalign.policies.language.network.layout import Layout
from diffalign.policies.language.network.network import LanguageNetwork
from diffalign.policies.language.scoring.batch import EncodedTexts


@dataclass(frozen=True)
class ResponseStates:
    """Reduced hidden states, one row for each response.

    Args:
        total: ``(B, D)`` float32, the sum of the states that predict its scored tokens.
        mean: ``(B, D)`` float32, the mean state at its scored tokens.
        last: ``(B, D)`` float32, the state at its last scored token.
        lengths: ``(B,)`` number of scored tokens.
    """

    total: Tensor
    mean: Tensor
    last: Tensor
    lengths: Tensor

    def __getitem__(self, rows: Tensor | Sequence[int]) -> ResponseStates:
        return ResponseStates(self.total[rows], self.mean[rows], self.last[rows], self.lengths[rows])


@torch.no_grad()
def response_states(network: LanguageNetwork, encoded: EncodedTexts) -> tuple[ResponseStates, ...]:
    """Returns the states of each role's responses, ``(B, D)``, under the current weights.

    Args:
        network: The unwrapped network of a language policy.
        encoded: A batch, as the policy encodes it.
    """
    states = reduce_states(network.hidden_states(encoded.layout), encoded.layout)
    return tuple(states[list(role)] for role in zip(*encoded.responses, strict=True))


def reduce_states(states: Tensor, layout: Layout) -> ResponseStates:
    """Reduces the states ``(T, D)`` of a row to those of its responses, in the order of the layout."""
    states = states if states.dtype == torch.float64 else states.float()
    count = sum(layout.lengths)  # scored tokens of prompts come after these
    responses, predict_at = layout.response_index[:count], layout.predict_at[:count]
    scored_at = scored_positions(layout)
    lengths = torch.tensor(layout.lengths, device=states.device)
    empty = states.new_zeros(layout.response_count, states.shape[-1])
    total = empty.index_add(0, responses, states[predict_at])
    mean = empty.index_add(0, responses, states[scored_at]) / lengths[:, None]
    return ResponseStates(total, mean, states[scored_at[lengths.cumsum(0) - 1]], lengths)


def scored_positions(layout: Layout) -> Tensor:
    """Returns ``(N,)``, the index in the row of each scored token of a response.

    It is the one after the index that predicts it; for the first token of a response, the beginning of the response.
    """
    count = sum(layout.lengths)
    responses, predict_at = layout.response_index[:count], layout.predict_at[:count]
    starts = [begin for group in layout.groups for begin, _ in group.response_ranges()]
    begins = torch.tensor(starts, device=predict_at.device)[responses]
    return torch.where(predict_at < begins, begins, predict_at + 1)
