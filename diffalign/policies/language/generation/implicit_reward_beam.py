"""Beam search over the rewards that an aligned policy implies.

The sum of a policy's log-probabilities over a prefix is, up to a constant of the prompt, the value of the state that it
reaches plus what the KL to the reference costs: so beam search on an aligned policy is search with a value function. A
continuation ``a`` of a state ``s`` adds

    policy   log pi(a | s)
    reward   beta (log pi(a | s) - log ref(a | s))
    mixed    log ref(a | s) + weight (log pi(a | s) - log ref(a | s))      weight 1 is ``policy``

``reward`` alone prefers any token that the reference hardly knows, so it searches among the policy's likely ones.

Source: Rafailov et al. 2024, "From r to Q*" (arXiv 2404.12358), who find that beams improve an aligned policy up to a
point: many of them make answers long, and in the end worse.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

Mode = Literal["policy", "reward", "mixed"]


class BeamSettings(BaseModel):
    """How answers are searched for instead of drawn.

    Args:
        beams: Continuations that are kept at each step; 0 draws answers. With beams, temperature and seed do nothing.
        beam_mode: What a token adds to a beam's score: ``"policy"``, ``"reward"`` or ``"mixed"``.
        beam_weight: Of ``"mixed"``: how much of the log-ratio is added to the reference, 1 or more.
        length_penalty: Scores are divided by the length to this power; 0 compares sums, 1 means.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    beams: int = Field(default=0, ge=0)
    beam_mode: Mode = "policy"
    beam_weight: float = Field(default=1.0, ge=1.0)
    length_penalty: float = Field(default=0.0, ge=0.0)


@dataclass(frozen=True)
class Beam:
    """A continuation.

    Args:
        ids: Its tokens.
        score: What they added, not divided by anything.
    """

    ids: tuple[int, ...]
    score: float

    def ranked(self, length_penalty: float) -> float:
        """The number that beams of different lengths are compared by."""
        return self.score / len(self.ids) ** length_penalty


class Steps(Protocol):
    """A policy, and perhaps its reference, one token at a time."""

    def __call__(self, parents: Sequence[int], tokens: Sequence[int], /) -> tuple[Tensor, Tensor | None]:
        """Log-probabilities of the next token ``(K, V)`` under the policy, and under the reference.

        Beam k continues beam ``parents[k]`` of the call before with ``tokens[k]``; both are empty in the first call,
        which asks about the prompt alone: K is 1.
        """


@torch.no_grad()
def implicit_beam_search(
    steps: Steps,
    *,
    ends: Collection[int],
    max_new_tokens: int,
    width: int = 5,
    mode: Mode = "policy",
    beta: float = 1.0,
    weight: float = 1.0,
    length_penalty: float = 0.0,
    top_k: int = 0,
    top_p: float = 1.0,
) -> list[Beam]:
    """The best continuations found, the best first, at least one.

    At each step the ``width`` best continuations of all live beams are kept; those that end go to a pool. The search
    stops when no beam is live, when the pool has ``width`` of them that no live beam beats, or at ``max_new_tokens``,
    where live beams join the pool as they are.

    Args:
        steps: Asked once for each token.
        ends: Tokens that end a continuation.
        max_new_tokens: Tokens of a continuation at most.
        width: Beams.
        mode: What is added, see the module. All but ``"policy"`` ask the reference.
        beta: Scales the scores of ``"reward"``.
        weight: Of ``"mixed"``.
        length_penalty: See `BeamSettings`.
        top_k: Continue with this many of the policy's likeliest tokens only; 0 means all.
        top_p: Continue with the likeliest tokens that together have this share.

    Facts: width 1 in mode ``"policy"`` is greedy decoding. With a width of all sequences of one length and mode
        ``"reward"``, the first is the one with the largest reward that the policy is the optimum of.
    """
    live, pool = [Beam((), 0.0)], list[Beam]()
    policy, reference = steps((), ())
    for left in reversed(range(max_new_tokens)):
        gains = _gains(policy, reference, mode, beta, weight)
        gains = gains.masked_fill(~likely(policy, top_k=top_k, top_p=top_p), -torch.inf)
        found = _best(live, gains, width)
        pool += [beam for _, beam in found if beam.ids[-1] in ends]
        going = [(parent, beam) for parent, beam in found if beam.ids[-1] not in ends]
        live = [beam for _, beam in going]
        if not live or _settled(pool, live, width, length_penalty):
            break
        if not left:
            pool += live
            break
        policy, reference = steps([parent for parent, _ in going], [beam.ids[-1] for beam in live])
    return sorted(pool, key=lambda beam: -beam.ranked(length_penalty))


def likely(logits: Tensor, *, top_k: int = 0, top_p: float = 1.0) -> Tensor:
    """``(K, V)`` booleans: the ``top_k`` likeliest tokens of each row, and of these the likeliest that together have
    the share ``top_p``; the likeliest one always."""
    kept = torch.ones_like(logits, dtype=torch.bool)
    if 0 < top_k < logits.shape[-1]:
        kept &= logits >= logits.topk(top_k).values[:, -1:]
    if top_p < 1.0:
        ordered, places = logits.masked_fill(~kept, -torch.inf).sort(descending=True)
        before = ordered.softmax(-1).cumsum(-1) - ordered.softmax(-1)
        kept &= torch.zeros_like(kept).scatter_(-1, places, before < top_p)
    return kept


def _gains(policy: Tensor, reference: Tensor | None, mode: Mode, beta: float, weight: float) -> Tensor:
    if mode == "policy":
        return policy
    assert reference is not None, f"mode {mode} asks the reference"
    ratio = policy - reference
    gains = beta * ratio if mode == "reward" else reference + weight * ratio
    return gains.masked_fill(policy == -torch.inf, -torch.inf)  # not a number where the reference is so too


def _best(live: Sequence[Beam], gains: Tensor, width: int) -> list[tuple[int, Beam]]:
    """The best continuations as ``(parent, beam)``; what is impossible is not among them."""
    before = torch.tensor([beam.score for beam in live], dtype=torch.float64, device=gains.device)
    totals = (before[:, None] + gains.double()).flatten()
    values, places = totals.topk(min(width, len(totals)))
    found = []
    for value, place in zip(values.tolist(), places.tolist(), strict=True):
        if value > -torch.inf:
            parent, token = divmod(place, gains.shape[-1])
            found.append((parent, Beam((*live[parent].ids, token), value)))
    return found


def _settled(pool: Sequence[Beam], live: Sequence[Beam], width: int, length_penalty: float) -> bool:
    best = max(beam.ranked(length_penalty) for beam in live)
    return sum(beam.ranked(length_penalty) >= best for beam in pool) >= width
