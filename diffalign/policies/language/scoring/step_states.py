"""Steps of answers: the lines of a solution, and the network's states of each.

A step ends with a line break that follows a word; empty lines belong to the step before them, and the token that ends
the answer belongs to the last step. With ``h`` the last hidden states (after the final norm) at the tokens of a step,

    e_k = sum of h over the tokens of step k

which under a cosine is the same as their mean.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from diffalign.policies.language.network.layout import Layout
from diffalign.policies.language.network.network import LanguageNetwork
from diffalign.policies.language.scoring.batch import EncodedTexts
from diffalign.policies.language.scoring.hidden_states import scored_positions
from diffalign.policies.policy import BatchLogps


class StepSplitter:
    """Assigns the tokens of an answer to its steps.

    Args:
        decode: Turns tokens into text.
        end_ids: The tokens that end an answer.
    """

    def __init__(self, decode: Callable[[Sequence[int]], str], end_ids: Collection[int]) -> None:
        self._decode, self._end_ids = decode, frozenset(end_ids)
        self._texts: dict[int, str] = {}

    def steps_of(self, tokens: Sequence[int]) -> list[int]:
        """Returns the step of each token of an answer, from 0."""
        steps, step, has_word, line_ended = [], 0, False, False
        for token in tokens:
            text = self._text(token)
            if text.strip():
                step, has_word, line_ended = step + line_ended, True, False
            line_ended = line_ended or has_word and "\n" in text
            steps.append(step)
        return steps

    def _text(self, token: int) -> str:
        if token not in self._texts:
            self._texts[token] = "" if token in self._end_ids else self._decode([token])
        return self._texts[token]


def with_steps(
    batch_logps: BatchLogps, network: LanguageNetwork, encoded: EncodedTexts, splitter: StepSplitter
) -> BatchLogps:
    """Returns the log-probabilities with each candidate's steps, and the states of these under the current weights.

    Args:
        batch_logps: The policy's log-probabilities of the batch.
        network: Its unwrapped network; computes one more forward pass, without gradient.
        encoded: The batch.
        splitter: Assigns tokens to steps.
    """
    layout = encoded.layout
    steps = _step_table(layout, splitter)
    states = _step_states(network, layout, steps)
    roles = torch.tensor(encoded.responses, device=steps.device).unbind(1)
    candidates = tuple(
        replace(candidate, steps=steps[role], states=states[:, role])
        for candidate, role in zip(batch_logps.candidates, roles, strict=True)
    )
    return replace(batch_logps, candidates=candidates)


def _step_table(layout: Layout, splitter: StepSplitter) -> Tensor:
    """Returns ``(responses, L)``: the step of each scored token, then zeros."""
    table = torch.zeros(layout.response_count, max(layout.lengths), dtype=torch.long)
    tokens, start = layout.targets.tolist(), 0
    for row, length in enumerate(layout.lengths):
        table[row, :length] = torch.tensor(splitter.steps_of(tokens[start : start + length]))
        start += length
    return table.to(layout.ids.device)


@torch.no_grad()
def _step_states(network: LanguageNetwork, layout: Layout, steps: Tensor) -> Tensor:
    """Returns ``(D, responses, S)`` float32: the sum of the states at each step's scored tokens."""
    states = network.hidden_states(layout)
    states = states if states.dtype == torch.float64 else states.float()
    count, step_count = sum(layout.lengths), int(steps.max()) + 1
    rows, columns = layout.response_index[:count], layout.token_index[:count]
    sums = states.new_zeros(layout.response_count * step_count, states.shape[1])
    sums.index_add_(0, rows * step_count + steps[rows, columns], states[scored_positions(layout)])
    return sums.unflatten(0, (layout.response_count, step_count)).permute(2, 0, 1)
