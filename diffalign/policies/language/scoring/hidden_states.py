"""Hidden states of responses: what the network holds of each answer before its head turns it into probabilities.

With ``h_k`` the last state (after the final norm) that predicts token k of a response, so that ``h_1`` stands at the
prompt's last token and the state at the response's own last token predicts nothing of it:

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
from diffalign.policies.language.scoring.score import EncodedTexts


@dataclass(frozen=True)
class States:
    """Reductions of hidden states, one row for each response.

    Args:
        total: ``(B, D)`` float32, the sum of the states that predict its scored tokens.
        mean: ``(B, D)`` float32, the mean state at its scored tokens.
        last: ``(B, D)`` float32, the state at its last scored token.
        lengths: ``(B,)`` its scored tokens.
    """

    total: Tensor
    mean: Tensor
    last: Tensor
    lengths: Tensor

    def __getitem__(self, rows: Tensor | Sequence[int]) -> States:
        return States(self.total[rows], self.mean[rows], self.last[rows], self.lengths[rows])


@torch.no_grad()
def response_states(network: LanguageNetwork, encoded: EncodedTexts) -> tuple[States, ...]:
    """The states of each role's responses, ``(B, D)``, under ``network`` as it is now.

    Args:
        network: The unwrapped network of a language policy.
        encoded: A batch, as the policy encodes it.
    """
    found = reduce(network.states(encoded.layout), encoded.layout)
    return tuple(found[list(role)] for role in zip(*encoded.places, strict=True))


def reduce(states: Tensor, layout: Layout) -> States:
    """Reduces the states ``(T, D)`` of a row to those of its responses, in the layout's order."""
    states = states if states.dtype == torch.float64 else states.float()
    count = sum(layout.lengths)  # behind them stand the tokens of prompts, where these are asked about
    owners, sources, places = layout.owners[:count], layout.sources[:count], places_of(layout)
    lengths = torch.tensor(layout.lengths, device=states.device)
    empty = states.new_zeros(layout.responses, states.shape[-1])
    total = empty.index_add(0, owners, states[sources])
    mean = empty.index_add(0, owners, states[places]) / lengths[:, None]
    return States(total, mean, states[places[lengths.cumsum(0) - 1]], lengths)


def places_of(layout: Layout) -> Tensor:
    """``(N,)``: where each scored token of a response stands, behind the place that predicts it or, of the first, where
    its response begins."""
    count = sum(layout.lengths)
    owners, sources = layout.owners[:count], layout.sources[:count]
    starts = [begin for tree in layout.trees for begin, _ in tree.responses()]
    begins = torch.tensor(starts, device=sources.device)[owners]
    return torch.where(sources < begins, begins, sources + 1)
