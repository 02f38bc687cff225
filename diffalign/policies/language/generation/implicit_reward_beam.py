"""Beam search over the rewards that an aligned policy implies.

The sum of a policy's log-probabilities over a prefix is, up to a constant of the prompt, the value of the state that it
reaches plus the cost of the KL to the reference. So beam search on an aligned policy is search with a value function. A
continuation ``a`` of a state ``s`` adds

    policy   log pi(a | s)
    reward   beta (log pi(a | s) - log ref(a | s))
    mixed    log ref(a | s) + weight (log pi(a | s) - log ref(a | s))      weight 1 is ``policy``

``reward`` alone prefers tokens that the reference finds very unlikely, so it searches among the policy's likely ones.

Source: Rafailov et al. 2024, "From r to Q*" (arXiv 2404.12358), who find that beams improve an aligned policy up to a
point: many beams make answers long, and eventually worse.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from diffalign.policies.language.generation.settings import BeamMode


@dataclass(frozen=True)
class Beam:
    """A continuation.

    Args:
        ids: Its tokens.
        score: Sum of what they added.
    """

    ids: tuple[int, ...]
    score: float

    def ranking_score(self, length_penalty: float) -> float:
        """Returns the score by which beams of different lengths are compared."""
        return self.score / len(self.ids) ** length_penalty


class NextTokenLogps(Protocol):
    """Next-token log-probabilities of a policy, and optionally of its reference, for growing beams."""

    def __call__(self, parents: Sequence[int], tokens: Sequence[int], /) -> tuple[Tensor, Tensor | None]:
        """Returns log-probabilities ``(K, V)`` of the next token under the policy, and under the reference.

        Beam k continues beam ``parents[k]`` of the last call with ``tokens[k]``. Both are empty in the first call,
        which continues the prompt: K is 1.
        """


@torch.no_grad()
def implicit_beam_search(
    next_logps: NextTokenLogps,
    *,
    ends: Collection[int],
    max_new_tokens: int,
    width: int = 5,
    mode: BeamMode = "policy",
    beta: float = 1.0,
    weight: float = 1.0,
    length_penalty: float = 0.0,
    top_k: int = 0,
    top_p: float = 1.0,
) -> list[Beam]:
    """Returns the best continuations found, at least one, the best first.

    At each step the ``width`` best continuations of all live beams are kept; those that end go to a pool. The search
    stops when no beam is live, when the pool has ``width`` beams that no live beam beats, or at ``max_new_tokens``,
    where live beams join the pool.

    Args:
        next_logps: Called once for each token.
        ends: Tokens that end a continuation.
        max_new_tokens: Largest number of tokens of a continuation.
        width: Number of beams.
        mode: What a token adds, see the module. All modes except ``"policy"`` need the reference.
        beta: Scales the scores of ``"reward"``.
        weight: Weight of ``"mixed"``.
        length_penalty: See :class:`BeamSettings`.
        top_k: Continue only with this number of the policy's likeliest tokens; 0 means all.
        top_p: Continue only with the likeliest tokens that together have this probability.

    Facts: width 1 in mode ``"policy"`` is greedy decoding. If the width is the number of all sequences of one length,
        the first beam of mode ``"reward"`` has the largest reward among those that the policy is the optimum of.
    """
    live, pool = [Beam((), 0.0)], list[Beam]()
    policy, reference = next_logps((), ())
    for remaining in reversed(range(max_new_tokens)):
        gains = _gains(policy, reference, mode, beta, weight)
        gains = gains.masked_fill(~likely_tokens(policy, top_k=top_k, top_p=top_p), -torch.inf)
        best = _best_continuations(live, gains, width)
        pool += [beam for _, beam in best if beam.ids[-1] in ends]
        unfinished = [(parent, beam) for parent, beam in best if beam.ids[-1] not in ends]
        live = [beam for _, beam in unfinished]
        if not live or _is_decided(pool, live, width, length_penalty):
            break
        if not remaining:
            pool += live
            break
        policy, reference = next_logps([parent for parent, _ in unfinished], [beam.ids[-1] for beam in live])
    return sorted(pool, key=lambda beam: -beam.ranking_score(length_penalty))


def likely_tokens(logits: Tensor, *, top_k: int = 0, top_p: float = 1.0) -> Tensor:
    """Returns ``(K, V)`` booleans: the ``top_k`` likeliest tokens of each row, and of these the likeliest ones that
    together have the probability ``top_p``; always at least one.
    """
    kept = torch.ones_like(logits, dtype=torch.bool)
    if 0 < top_k < logits.shape[-1]:
        kept &= logits >= logits.topk(top_k).values[:, -1:]
    if top_p < 1.0:
        ordered, tokens = logits.masked_fill(~kept, -torch.inf).sort(descending=True)
        before = ordered.softmax(-1).cumsum(-1) - ordered.softmax(-1)
        kept &= torch.zeros_like(kept).scatter_(-1, tokens, before < top_p)
    return kept


def _gains(policy: Tensor, reference: Tensor | None, mode: BeamMode, beta: float, weight: float) -> Tensor:
    if mode == "policy":
        return policy
    assert reference is not None, f"mode {mode} needs the reference"
    ratio = policy - reference
    gains = beta * ratio if mode == "reward" else reference + weight * ratio
    return gains.masked_fill(policy == -torch.inf, -torch.inf)  # NaN if the reference is -inf too


def _best_continuations(live: Sequence[Beam], gains: Tensor, width: int) -> list[tuple[int, Beam]]:
    """Returns the best continuations as ``(parent, beam)``, without impossible ones."""
    scores = torch.tensor([beam.score for beam in live], dtype=torch.float64, device=gains.device)
    totals = (scores[:, None] + gains.double()).flatten()
    values, indices = totals.topk(min(width, len(totals)))
    best = []
    for value, index in zip(values.tolist(), indices.tolist(), strict=True):
        if value > -torch.inf:
            parent, token = divmod(index, gains.shape[-1])
            best.append((parent, Beam((*live[parent].ids, token), value)))
    return best


def _is_decided(pool: Sequence[Beam], live: Sequence[Beam], width: int, length_penalty: float) -> bool:
    """Whether ``width`` finished beams are at least as good as every live one."""
    best = max(beam.ranking_score(length_penalty) for beam in live)
    return sum(beam.ranking_score(length_penalty) >= best for beam in pool) >= width
