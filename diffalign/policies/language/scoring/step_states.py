"""Steps of answers: the lines of a solution, and what the network holds of each.

A step ends with a line break, wherever the answer has words before it; empty lines belong to the step that they end,
the token that ends the answer to its last one. With ``h`` the last hidden states (after the final norm) at the tokens
of a step,

    e_k = sum of h over the tokens of step k

which to a cosine is their mean.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from diffalign.policies.language.network.layout import Layout
from diffalign.policies.language.network.network import LanguageNetwork
from diffalign.policies.language.scoring.hidden_states import places_of
from diffalign.policies.language.scoring.score import EncodedTexts
from diffalign.policies.policy import BatchLogps


class Steps:
    """Which step of its answer a token belongs to.

    Args:
        spell: Tokens as text.
        ends: The tokens that end an answer.
    """

    def __init__(self, spell: Callable[[Sequence[int]], str], ends: Collection[int]) -> None:
        self._spell, self._ends = spell, frozenset(ends)
        self._texts: dict[int, str] = {}

    def of(self, tokens: Sequence[int]) -> list[int]:
        """The step of each token of an answer, from 0."""
        found, step, words, broken = [], 0, False, False
        for token in tokens:
            text = self._text(token)
            if text.strip():
                step, words, broken = step + broken, True, False
            broken = broken or words and "\n" in text
            found.append(step)
        return found

    def _text(self, token: int) -> str:
        if token not in self._texts:
            self._texts[token] = "" if token in self._ends else self._spell([token])
        return self._texts[token]


def with_steps(scored: BatchLogps, network: LanguageNetwork, encoded: EncodedTexts, steps: Steps) -> BatchLogps:
    """The scores with each candidate's steps, and the states of these under ``network`` as it is now.

    Args:
        scored: What a policy said of the batch.
        network: Its unwrapped network; asked once more, without a gradient.
        encoded: The batch.
        steps: What a step is.
    """
    layout = encoded.layout
    which = _table(layout, steps)
    states = _states(network, layout, which)
    roles = torch.tensor(encoded.places, device=which.device).unbind(1)
    candidates = zip(scored.candidates, roles, strict=True)
    return replace(
        scored, candidates=tuple(replace(one, steps=which[role], states=states[:, role]) for one, role in candidates)
    )


def _table(layout: Layout, steps: Steps) -> Tensor:
    """``(responses, L)``: the step of each scored token; 0 behind the last, where no token is."""
    table = torch.zeros(layout.responses, max(layout.lengths), dtype=torch.long)
    tokens, start = layout.targets.tolist(), 0
    for row, length in enumerate(layout.lengths):
        table[row, :length] = torch.tensor(steps.of(tokens[start : start + length]))
        start += length
    return table.to(layout.ids.device)


@torch.no_grad()
def _states(network: LanguageNetwork, layout: Layout, which: Tensor) -> Tensor:
    """``(D, responses, S)`` float32: the sum of the states at each step's scored tokens."""
    states = network.states(layout)
    states = states if states.dtype == torch.float64 else states.float()
    count, most = sum(layout.lengths), int(which.max()) + 1
    owners, columns = layout.owners[:count], layout.columns[:count]
    sums = states.new_zeros(layout.responses * most, states.shape[1])
    sums.index_add_(0, owners * most + which[owners, columns], states[places_of(layout)])
    return sums.unflatten(0, (layout.responses, most)).permute(2, 0, 1)
