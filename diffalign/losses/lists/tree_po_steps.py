"""Tree preference optimisation on answers in steps: two answers are compared step by step, and steps that say the same
count more than steps that do not."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from diffalign.losses.candidate_logps import upcast
from diffalign.losses.lists.tree_po import TREE_PO_PAPER, WEIGHTS, pair_weights
from diffalign.losses.loss import Loss
from diffalign.losses.pair_logps import AnswerLogps, PairLogps
from diffalign.losses.ranges import BETA


def step_rewards(answer: AnswerLogps, count: int) -> Tensor:
    """``(B, count)``: the logratio of each step of an answer, 0 for steps that it has not.

    Raises:
        ValueError: The scores say nothing of steps.
    """
    if answer.policy.steps is None:
        raise ValueError("this loss compares answers step by step, but the steps of their tokens are not given")
    ratios = answer.part_logratios
    return ratios.new_zeros(len(ratios), count).scatter_add(1, answer.policy.steps, ratios)


def step_margin(rewards: tuple[Tensor, Tensor], states: tuple[Tensor, Tensor], counts: tuple[Tensor, Tensor]) -> Tensor:
    """How far one answer is ahead of another, step by step.

        M = sum_k W_k (r_k - r'_k),      W_k = 1 + cos(e_k, e'_k)

    over the steps that both have; what the longer answer has more belongs to its last one of these.

    Args:
        rewards: ``(B, S)`` of both, the reward of each step.
        states: ``(D, B, S)`` of both, the sum of the hidden states of each step's tokens, zero behind the last: to a
            cosine the same as their mean. No gradient enters through them.
        counts: ``(B,)`` of both, how many steps there are.

    Returns:
        ``(B,)``, positive where the first is ahead.

    Facts: the two exchanged, it changes its sign. Where states are orthogonal it is the difference of the sums. Steps
        of opposite meaning do not count.
    """
    shared = torch.minimum(*counts).unsqueeze(1)
    steps = torch.arange(rewards[0].shape[1], device=shared.device)
    merged = torch.minimum(steps, shared - 1)
    one, other = (torch.zeros_like(r).scatter_add(1, merged, r) for r in rewards)
    e, f = (torch.zeros_like(s).scatter_add(2, merged.expand_as(s), s) for s in map(Tensor.detach, states))
    return ((1.0 + F.cosine_similarity(e, f, dim=0)).to(one) * (one - other)).sum(1)


def tree_po_steps(logps: PairLogps, *, beta: float, weights: str = "lambda") -> Tensor:
    """:func:`~diffalign.losses.lists.tree_po.tree_po` with margins that are formed step by step.

        loss_b = sum over v_i > v_j of lambda_ij log(1 + exp(-beta M_ij))

    with the margins of :func:`step_margin`; the ranks of lambda are those of the whole answers' rewards.

    Args:
        logps: ``B`` ranked lists against a reference, with their rewards, and of each answer the parts, their steps
            and the steps' states.
        beta: Inverse temperature, > 0.
        weights: As for :func:`~diffalign.losses.lists.tree_po.tree_po`.

    Returns:
        ``(B,)``, one loss per list.

    Raises:
        ValueError: The scores say nothing of steps.

    Facts: where states are orthogonal it is tree_po; where all answers are one step of the same state, tree_po of twice
        the beta, with the same weights.

    Source: Liao et al. 2024 (arXiv 2410.12854), the adaptive step reward. A step that two answers share says the same
        in both, so its weight is 2, and its reward, equal in both, cancels.
    """
    ranked = logps.ranked
    if any(answer.policy.states is None for answer in ranked.values()):
        raise ValueError("this loss weighs steps by their hidden states, but the scores carry none")
    states = [answer.policy.states for answer in ranked.values() if answer.policy.states is not None]
    count = max(s.shape[2] for s in states)
    rewards = [beta * step_rewards(answer, count) for answer in ranked.values()]
    states = [F.pad(upcast(s), (0, count - s.shape[2])) for s in states]
    counts = [1 + answer.policy.steps.amax(1) for answer in ranked.values() if answer.policy.steps is not None]
    better, weight = pair_weights(torch.stack([r.sum(1) for r in rewards], 1), logps, weights)
    total = torch.zeros_like(weight[:, 0, 0])
    for i in range(len(rewards)):
        for j in range(i + 1, len(rewards)):
            margin = step_margin((rewards[i], rewards[j]), (states[i], states[j]), (counts[i], counts[j]))
            lost = better[:, i, j] * F.softplus(-margin) + better[:, j, i] * F.softplus(margin)
            total = total + weight[:, i, j] * lost
    return total


TREE_PO_STEPS = Loss(
    name="tree_po_steps",
    function=tree_po_steps,
    takes="logps",
    kind="list",
    needs=("reference", "rewards", "parts", "steps"),
    media=("text",),
    summary="TPO of trees with adaptive step rewards: answers are compared line by line, like lines count double",
    formula="sum_{v_i > v_j} lambda_ij log(1 + exp(-beta M_ij)), M = sum_k (1 + cos(e_k, e'_k)) (r_k - r'_k)",
    source="Liao et al. 2024, arXiv 2410.12854",
    papers=(TREE_PO_PAPER,),
    advice="Ranked solutions in steps, one per line, of which many share their beginning. A step costs one more pass "
    "without a gradient, for the states. Without steps: tree_po.",
    limits={"beta": BETA},
    choices={"weights": WEIGHTS},
    at_zero=lambda h: None,  # it depends on the rewards
)
