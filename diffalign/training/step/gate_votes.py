"""A gate's vote as a mean over several noises, for labels that ask for more than one (`labels.noises`).

    R_w = mean over k = 1..N of R_w(t_k, eps_k),      k = 1 the pair's own draw, the others further ones

A draw is of level, noise and dropped prompt. The further ones belong to the gate only: the chosen candidate is scored
at them without a gradient, under policy and reference: 2 (N - 1) forward passes more per pair, and an inversion for
each where latents are inverted. They are keyed by a seed that follows from the run's, so they are functions of
(seed, pair, visit) like all draws.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from diffalign.data.records.pair import Pair
from diffalign.errors import ConfigError
from diffalign.labels import Label
from diffalign.losses import AnswerLogps, CandidateLogps, PairLogps
from diffalign.policies.policy import LatentPolicy, Policy
from diffalign.randomness import Draw, stream
from diffalign.training.step.forward import ForwardContext


@torch.no_grad()
def with_gate_votes(run: ForwardContext, label: Label, pairs: Sequence[Pair], visits: Sequence[int]) -> Label:
    """Returns the label with a gate that votes on means over its noises; the same object where one is enough.

    Args:
        run: Policy, precision, seed and draws per pair.
        label: The labels of the pairs.
        pairs: A micro-batch.
        visits: How often each of its pairs has been seen.
    """
    gate = label.gate
    if gate is None or label.gate_noises == 1:
        return label
    encoded = run.policy.encode([replace(pair, rejected=None, rejected_prompt=None, further={}) for pair in pairs])
    ids = tuple(pair.id for pair in pairs)
    further = torch.stack(
        [
            chosen_logratio(run, encoded, Draw(gate_seed(run.seed, number), ids, tuple(visits)))
            for number in range(1, label.gate_noises)
        ]
    ).sum(0)
    noises = run.draws + label.gate_noises - 1

    def vote(logps: PairLogps) -> Tensor:
        mean = (run.draws * logps.chosen_logratio.detach() + further) / noises
        zero = torch.zeros_like(mean)
        return gate(replace(logps, chosen=CandidateLogps(mean), reference_chosen=CandidateLogps(zero)))

    return replace(label, gate=vote)


def gate_seed(seed: int, number: int) -> int:
    """Returns the seed of a gate's further draws, in [0, 2^63): no other draw of the run has it."""
    return int(stream(seed, "gate", number, "seed").integers(0, 2**63))


def chosen_logratio(run: ForwardContext, encoded: object, draw: Draw) -> Tensor:
    """Returns ``(B,)``, the chosen candidates' logratios at a draw, without a gradient."""
    with run.accelerator.autocast():
        reference = run.policy.reference_logps(encoded, draw)
    with run.accelerator.autocast():
        policy = run.policy.logps(encoded, draw)
    return AnswerLogps(policy.candidates[0], reference.candidates[0]).logratio


def check_gate_votes(label: Label, policy: Policy, fast_slow: bool) -> None:
    """Raises ConfigError where a gate cannot vote on several noises.

    Args:
        label: The label, of any pairs.
        policy: The opened policy.
        fast_slow: Whether two adapters train.
    """
    if label.gate is None or label.gate_noises == 1:
        return
    if not isinstance(policy, LatentPolicy):
        problem = "the log-probabilities of this model have no noise, so every vote would be the same"
    elif policy.reference_kind == "stored":
        problem, instead = "the reference is stored for the draws of training only", "model.reference=copy"
        raise ConfigError(f"labels.noises is {label.gate_noises}, but {problem}. Type: --set {instead}")
    elif fast_slow:
        problem = "train.fast_slow trains two policies, and a vote is on one"
    else:
        return
    raise ConfigError(f"labels.noises is {label.gate_noises}, but {problem}. Type: --set labels.noises=1")
