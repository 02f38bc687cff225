"""Tree preference optimisation on answers in steps, compared step by step: similar steps have larger weights."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from diffalign.losses.candidate_logps import upcast
from diffalign.losses.hyperparameters import checked
from diffalign.losses.lists.tree_po import TREE_PO_PAPER, WEIGHTS, pair_weights
from diffalign.losses.loss import Loss
from diffalign.losses.pair_logps import AnswerLogps, PairLogps
from diffalign.losses.ranges import BETA


def step_rewards(answer: AnswerLogps, count: int) -> Tensor:
    """Returns ``(B, count)``, the logratio of each step of an answer, 0 for steps that it does not have.

    Raises:
        ValueError: The steps are not given.
    """
    if answer.policy.steps is None:
        raise ValueError("this loss compares answers step by step, but the steps of their tokens are not given")
    ratios = answer.part_logratios
    return ratios.new_zeros(len(ratios), count).scatter_add(1, answer.policy.steps, ratios)


def step_margin(rewards: tuple[Tensor, Tensor], states: tuple[Tensor, Tensor], counts: tuple[Tensor, Tensor]) -> Tensor:
    """Returns ``(B,)``, the margin of one answer over another from its steps; positive where the first is ahead.

        M = sum_k W_k (r_k - r'_k),      W_k = 1 + cos(e_k, e'_k)

    over the steps that both have; further steps of the longer answer belong to its last one of these.

    Args:
        rewards: ``(B, S)`` of both, the reward of each step.
        states: ``(D, B, S)`` of both, the sum of the hidden states of each step's tokens, zero beyond the last; a
            cosine is the same for their mean. They have no gradient.
        counts: ``(B,)`` of both, the number of steps.

    Facts: swapping the two changes its sign. Where states are orthogonal it is the difference of the sums. Steps with
        opposite states have weight 0.
    """
    shared = torch.minimum(*counts).unsqueeze(1)
    steps = torch.arange(rewards[0].shape[1], device=shared.device)
    merged = torch.minimum(steps, shared - 1)
    first, second = (torch.zeros_like(r).scatter_add(1, merged, r) for r in rewards)
    e, f = (torch.zeros_like(s).scatter_add(2, merged.expand_as(s), s) for s in map(Tensor.detach, states))
    return ((1.0 + F.cosine_similarity(e, f, dim=0)).to(first) * (first - second)).sum(1)


@checked
def tree_po_steps(logps: PairLogps, *, beta: float, weights: str = "lambda") -> Tensor:
    """:func:`~diffalign.losses.lists.tree_po.tree_po` with margins from steps.

        loss_b = sum over v_i > v_j of lambda_ij log(1 + exp(-beta M_ij))

    with the margins of :func:`step_margin`; lambda uses the ranks of the whole answers' rewards.

    Args:
        logps: ``B`` ranked lists against a reference, with their rewards, and each answer's parts, steps and
            states.
        beta: Inverse temperature, > 0.
        weights: As for :func:`~diffalign.losses.lists.tree_po.tree_po`.

    Returns:
        ``(B,)``, one loss per list.

    Raises:
        ValueError: The steps are not given.

    Facts: where states are orthogonal it is tree_po; where all answers are one step of the same state, tree_po of twice
        the beta, with the same weights.

    Source: Liao et al. 2024 (arXiv 2410.12854), the adaptive step reward. A step that two answers share is the same in
        both, so its weight is 2, and its reward cancels.
    """
    ranked = logps.ranked
    if any(answer.policy.states is None for answer in ranked.values()):
        raise ValueError("this loss weights steps by their hidden states, but there are none")
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
            pair_loss = better[:, i, j] * F.softplus(-margin) + better[:, j, i] * F.softplus(margin)
            total = total + weight[:, i, j] * pair_loss
    return total


TREE_PO_STEPS = Loss(
    name="tree_po_steps",
    function=tree_po_steps,
    takes="logps",
    kind="list",
    needs=("reference", "rewards", "parts", "steps"),
    media=("text",),
    summary="TPO of trees with adaptive step rewards: answers are compared line by line, equal lines have weight 2",
    formula="sum_{v_i > v_j} lambda_ij log(1 + exp(-beta M_ij)), M = sum_k (1 + cos(e_k, e'_k)) (r_k - r'_k)",
    source="Liao et al. 2024, arXiv 2410.12854",
    papers=(TREE_PO_PAPER,),
    advice="Ranked solutions in steps, one per line, of which many share their beginning. A step needs one more "
    "forward pass without gradient, for the states. Without steps: tree_po.",
    limits={"beta": BETA},
    choices={"weights": WEIGHTS},
    at_zero=lambda h: None,  # it depends on the rewards
)
