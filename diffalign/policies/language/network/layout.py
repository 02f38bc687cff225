"""Layout: how the tokens of a batch lie in one row, so that each prompt is there once and nothing is padding.

    [ prompt 1 | response | response ][ prompt 2 | response | response | response ] ...

A *tree* is one prompt with all responses that the batch has for it, each different one once. A response sees its prompt
and itself, never its siblings; its positions go on where the prompt's end. Every scored token is predicted at the place
of the token before it, the first one at the prompt's last.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from diffalign.policies.language.tokens.token_pair import Response, TokenPair


@dataclass(frozen=True)
class Tree:
    """One prompt with its responses, as places in the row.

    Args:
        start: Where the prompt begins.
        fork: Where it ends and the first response begins.
        ends: Where each response ends.
    """

    start: int
    fork: int
    ends: tuple[int, ...]

    @property
    def end(self) -> int:
        """Where the last response ends."""
        return self.ends[-1]

    def responses(self) -> list[tuple[int, int]]:
        """``(begin, end)`` of each response."""
        return list(zip((self.fork, *self.ends[:-1]), self.ends, strict=True))


@dataclass(frozen=True)
class Layout:
    """The tokens of a batch in one row of ``T``.

    Args:
        ids: ``(T,)`` token ids.
        positions: ``(T,)`` positions within each prompt-with-response.
        trees: Prompts with their responses, in the row's order.
        sources: ``(N,)`` the place that predicts each scored token; those of responses come before those of prompts.
        targets: ``(N,)`` the scored tokens' ids.
        owners: ``(N,)`` the response, counted over all trees, that each scored token belongs to; prompts are counted
            behind them, in the order of their trees.
        columns: ``(N,)`` how many scored tokens of its response come before it.
        lengths: Scored tokens of each response.
        places: For each question the responses that it asks about.
        prompts: Scored tokens of each tree's prompt: all but its first, which nothing predicts. Empty: none is asked
            about.
        masks: Attention masks of the trees, as far as they have been asked for.
    """

    ids: Tensor
    positions: Tensor
    trees: tuple[Tree, ...]
    sources: Tensor
    targets: Tensor
    owners: Tensor
    columns: Tensor
    lengths: tuple[int, ...]
    places: tuple[tuple[int, ...], ...]
    prompts: tuple[int, ...] = ()
    masks: dict[object, Tensor] = field(default_factory=dict, repr=False, compare=False)

    @property
    def responses(self) -> int:
        """How many different responses there are."""
        return len(self.lengths)

    @property
    def tree_of(self) -> list[int]:
        """The tree that each response belongs to."""
        return [number for number, tree in enumerate(self.trees) for _ in tree.ends]

    def mask(self, tree: Tree, window: int | None, dtype: torch.dtype) -> Tensor:
        """``(R, P + R)``, to be added to the scores of a tree's responses against prompt and responses: 0 where a
        token is seen, minus infinity elsewhere. ``window``: how many positions back is seen, itself included."""
        key = (tree.start, window, dtype)
        if key not in self.masks:
            self.masks[key] = _added(self._seen(tree, window), dtype)
        return self.masks[key]

    def window_mask(self, tree: Tree, window: int, dtype: torch.dtype) -> Tensor:
        """``(P, P)``: the same for a prompt against itself."""
        key = (tree.fork - tree.start, window, dtype, "prompt")
        if key not in self.masks:
            at = torch.arange(tree.fork - tree.start, device=self.ids.device)
            self.masks[key] = _added(_visible(at, at, window), dtype)
        return self.masks[key]

    def _seen(self, tree: Tree, window: int | None) -> Tensor:
        at = self.positions[tree.start : tree.end]
        prompt = tree.fork - tree.start
        branch = torch.zeros_like(at)  # 0 for the prompt, then 1, 2, ... for the responses
        for number, (begin, end) in enumerate(tree.responses(), 1):
            branch[begin - tree.start : end - tree.start] = number
        same = (branch[None, :] == branch[prompt:, None]) | (branch[None, :] == 0)
        return same & _visible(at[prompt:], at, window)


def lay_out(questions: Sequence[TokenPair], device: torch.device | str = "cpu", *, prompts: bool = False) -> Layout:
    """Lays the tokens of ``questions`` out in one row.

    Equal prompts are merged wherever they stand in the batch, and so are equal responses to one prompt.

    Args:
        questions: What is asked.
        device: Where the tensors are to be.
        prompts: Ask about the prompts' tokens, too.
    """
    merged: dict[tuple[int, ...], dict[Response, int]] = {}
    for question in questions:
        answers = merged.setdefault(question.prompt, {})
        for response in question.responses:
            answers.setdefault(response, len(answers))
    ids: list[int] = []
    positions: list[int] = []
    trees: list[Tree] = []
    lengths: list[int] = []
    sources: list[int] = []
    targets: list[int] = []
    owners: list[int] = []
    columns: list[int] = []
    first: dict[tuple[int, ...], int] = {}
    for prompt, answers in merged.items():
        assert prompt, "a prompt has at least one token, which predicts the first of the response"
        first[prompt] = len(lengths)
        start, fork, ends = len(ids), len(ids) + len(prompt), []
        ids += prompt
        positions += range(len(prompt))
        for response in answers:
            begin = len(ids)
            scored = [k for k, wanted in enumerate(response.scored) if wanted]
            sources += [begin + k - 1 if k else fork - 1 for k in scored]
            targets += [response.ids[k] for k in scored]
            owners += [len(lengths)] * len(scored)
            columns += range(len(scored))
            lengths.append(len(scored))
            ids += response.ids
            positions += range(len(prompt), len(prompt) + len(response.ids))
            ends.append(len(ids))
        trees.append(Tree(start, fork, tuple(ends)))
    asked = [len(prompt) - 1 for prompt in merged] if prompts else []
    for number, count in enumerate(asked):
        start = trees[number].start
        sources += range(start, start + count)
        targets += ids[start + 1 : start + 1 + count]
        owners += [len(lengths) + number] * count
        columns += range(count)
    places = tuple(tuple(first[q.prompt] + merged[q.prompt][r] for r in q.responses) for q in questions)
    lists = (ids, positions, sources, targets, owners, columns)
    token, position, source, target, owner, column = (
        torch.tensor(values, dtype=torch.long, device=device) for values in lists
    )
    return Layout(token, position, tuple(trees), source, target, owner, column, tuple(lengths), places, tuple(asked))


def _visible(query: Tensor, key: Tensor, window: int | None) -> Tensor:
    """``(Q, K)``: a token sees itself and what is before it, as far as its window reaches."""
    gap = query[:, None] - key[None, :]
    return (gap >= 0) if window is None else (gap >= 0) & (gap < window)


def _added(seen: Tensor, dtype: torch.dtype) -> Tensor:
    return torch.zeros(seen.shape, dtype=dtype, device=seen.device).masked_fill_(~seen, float("-inf"))
