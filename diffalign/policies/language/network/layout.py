"""Packed layout: the tokens of a batch in one row, with each prompt once and no padding.

    [ prompt 1 | response | response ][ prompt 2 | response | response | response ] ...

A *prompt group* is one prompt with all distinct responses to it in the batch. A response attends to its prompt and to
itself, not to other responses; its position ids continue those of the prompt. Every scored token is predicted from the
token before it, the first one from the last token of the prompt.

``T`` is the number of tokens in the row, ``N`` the number of scored tokens, ``P`` of tokens of a prompt and ``R`` of
tokens of all its responses.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from diffalign.policies.language.tokens.token_pair import Response, TokenPair


@dataclass(frozen=True)
class PromptGroup:
    """Where one prompt and its responses are in the row.

    Args:
        start: First token of the prompt.
        prompt_end: End of the prompt, where the first response begins.
        response_ends: End of each response.
    """

    start: int
    prompt_end: int
    response_ends: tuple[int, ...]

    @property
    def end(self) -> int:
        """End of the last response."""
        return self.response_ends[-1]

    @property
    def prompt_length(self) -> int:
        """Number of tokens of the prompt."""
        return self.prompt_end - self.start

    def response_ranges(self) -> list[tuple[int, int]]:
        """Returns ``(begin, end)`` of each response."""
        return list(zip((self.prompt_end, *self.response_ends[:-1]), self.response_ends, strict=True))


@dataclass(frozen=True)
class Layout:
    """The tokens of a batch in one row of ``T``.

    Responses are numbered over all groups, in the order of the row.

    Args:
        ids: ``(T,)`` token ids.
        position_ids: ``(T,)`` positions within each prompt with response.
        groups: Prompts with their responses, in the order of the row.
        predict_at: ``(N,)`` index in the row that predicts each scored token; all of responses, then all of prompts.
        targets: ``(N,)`` ids of the scored tokens.
        response_index: ``(N,)`` the response of each scored token. Prompts have the numbers after the responses, in the
            order of their groups.
        token_index: ``(N,)`` number of scored tokens of the same response before this one.
        lengths: Number of scored tokens of each response.
        pair_responses: For each token pair, the numbers of its responses.
        prompt_lengths: Number of scored tokens of each prompt: all but its first, which nothing predicts. Empty if
            prompts are not scored.
        mask_cache: Attention masks that have been computed.
    """

    ids: Tensor
    position_ids: Tensor
    groups: tuple[PromptGroup, ...]
    predict_at: Tensor
    targets: Tensor
    response_index: Tensor
    token_index: Tensor
    lengths: tuple[int, ...]
    pair_responses: tuple[tuple[int, ...], ...]
    prompt_lengths: tuple[int, ...] = ()
    mask_cache: dict[object, Tensor] = field(default_factory=dict, repr=False, compare=False)

    @property
    def response_count(self) -> int:
        """Number of distinct responses."""
        return len(self.lengths)

    @property
    def group_of_response(self) -> list[int]:
        """The index of each response's group."""
        return [number for number, group in enumerate(self.groups) for _ in group.response_ends]

    def response_mask(self, group: PromptGroup, window: int | None, dtype: torch.dtype) -> Tensor:
        """Returns the additive mask ``(R, P + R)`` of a group's responses: 0 if a token is visible, else -inf.

        ``window`` is the number of positions that a token sees, itself included; None: all before it.
        """
        key = (group.start, window, dtype)
        if key not in self.mask_cache:
            self.mask_cache[key] = _additive(self._visible_to_responses(group, window), dtype)
        return self.mask_cache[key]

    def prompt_mask(self, group: PromptGroup, window: int, dtype: torch.dtype) -> Tensor:
        """Returns the additive mask ``(P, P)`` of a prompt with itself."""
        key = (group.prompt_length, window, dtype, "prompt")
        if key not in self.mask_cache:
            positions = torch.arange(group.prompt_length, device=self.ids.device)
            self.mask_cache[key] = _additive(_visible(positions, positions, window), dtype)
        return self.mask_cache[key]

    def _visible_to_responses(self, group: PromptGroup, window: int | None) -> Tensor:
        positions = self.position_ids[group.start : group.end]
        branch = torch.zeros_like(positions)  # 0 for the prompt, then 1, 2, ... for the responses
        for number, (begin, end) in enumerate(group.response_ranges(), 1):
            branch[begin - group.start : end - group.start] = number
        response_branch = branch[group.prompt_length :, None]
        same_branch = (branch[None, :] == response_branch) | (branch[None, :] == 0)
        return same_branch & _visible(positions[group.prompt_length :], positions, window)


def lay_out(token_pairs: Sequence[TokenPair], device: torch.device | str = "cpu", *, prompts: bool = False) -> Layout:
    """Packs the tokens of a batch into one row.

    Equal prompts are merged wherever they are in the batch, and so are equal responses to one prompt.

    Args:
        token_pairs: The batch.
        device: Device of the tensors.
        prompts: Score the prompts' tokens, too.
    """
    merged: dict[tuple[int, ...], dict[Response, int]] = {}
    for token_pair in token_pairs:
        responses = merged.setdefault(token_pair.prompt, {})
        for response in token_pair.responses:
            responses.setdefault(response, len(responses))
    ids: list[int] = []
    position_ids: list[int] = []
    groups: list[PromptGroup] = []
    lengths: list[int] = []
    predict_at: list[int] = []
    targets: list[int] = []
    response_index: list[int] = []
    token_index: list[int] = []
    first_response: dict[tuple[int, ...], int] = {}
    for prompt, responses in merged.items():
        assert prompt, "a prompt has at least one token, which predicts the first of the response"
        first_response[prompt] = len(lengths)
        start, prompt_end, ends = len(ids), len(ids) + len(prompt), []
        ids += prompt
        position_ids += range(len(prompt))
        for response in responses:
            begin = len(ids)
            scored = [k for k, is_scored in enumerate(response.scored) if is_scored]
            predict_at += [begin + k - 1 if k else prompt_end - 1 for k in scored]
            targets += [response.ids[k] for k in scored]
            response_index += [len(lengths)] * len(scored)
            token_index += range(len(scored))
            lengths.append(len(scored))
            ids += response.ids
            position_ids += range(len(prompt), len(prompt) + len(response.ids))
            ends.append(len(ids))
        groups.append(PromptGroup(start, prompt_end, tuple(ends)))
    prompt_lengths = [len(prompt) - 1 for prompt in merged] if prompts else []
    for number, count in enumerate(prompt_lengths):
        start = groups[number].start
        predict_at += range(start, start + count)
        targets += ids[start + 1 : start + 1 + count]
        response_index += [len(lengths) + number] * count
        token_index += range(count)

    def tensor(values: list[int]) -> Tensor:
        return torch.tensor(values, dtype=torch.long, device=device)

    return Layout(
        ids=tensor(ids),
        position_ids=tensor(position_ids),
        groups=tuple(groups),
        predict_at=tensor(predict_at),
        targets=tensor(targets),
        response_index=tensor(response_index),
        token_index=tensor(token_index),
        lengths=tuple(lengths),
        pair_responses=tuple(
            tuple(first_response[pair.prompt] + merged[pair.prompt][response] for response in pair.responses)
            for pair in token_pairs
        ),
        prompt_lengths=tuple(prompt_lengths),
    )


def _visible(query: Tensor, key: Tensor, window: int | None) -> Tensor:
    """Returns ``(Q, K)``: a token sees itself and the tokens before it, as far as its window reaches."""
    distance = query[:, None] - key[None, :]
    return (distance >= 0) if window is None else (distance >= 0) & (distance < window)


def _additive(visible: Tensor, dtype: torch.dtype) -> Tensor:
    return torch.zeros(visible.shape, dtype=dtype, device=visible.device).masked_fill_(~visible, float("-inf"))
