"""Scoring: what policy and reference say of a micro-batch, as a loss reads it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol

import torch
from torch import Tensor

from diffalign.data.records.pair import Pair
from diffalign.losses import AnswerLogps, CandidateLogps, Objective, PairLogps
from diffalign.policies.policy import BatchLogps, Policy, SupportsContentDegree, SupportsSteps
from diffalign.randomness import Draw
from diffalign.training.step.batch_order import Visit, draws_of_visits
from diffalign.training.step.dataset_rewards import rewards_of


class ForwardContext(Protocol):
    """What scoring needs to know of a run."""

    accelerator: Any
    policy: Policy
    loss: Objective
    seed: int
    micro_batch_size: int
    draws: int

    @property
    def has_second_adapter(self) -> bool:
        """Whether a second set of weights is asked too."""


def in_microbatch_order(policy: Policy, pairs: Sequence[Pair], visits: Sequence[Visit]) -> list[Visit]:
    """The visits of a batch in the order in which the policy wants them cut into micro-batches."""
    return [visits[k] for k in policy.microbatch_order([pairs[index] for index, _ in visits])]


def pair_logps(
    run: ForwardContext, pairs: Sequence[Pair], visits: Sequence[int], point: Tensor | None = None
) -> tuple[PairLogps, dict[str, Tensor]]:
    """Scores of a micro-batch under policy and, where the loss needs it, reference; with the policy's diagnostics.

    Args:
        run: Policy, loss, precision, seed; at how many draws each pair is scored (the scores are means over them); and
            whether a second set of weights is asked too, whose scores are ``beside["second"]``.
        pairs: The micro-batch.
        visits: How often each of its pairs has been seen.
        baseline: The batch's reference point, where the loss needs one.
    """
    needs = run.loss.needs
    encoded = run.policy.encode(pairs, prompts="prompts" in needs)
    ids = tuple(pair.id for pair in pairs)
    looks = [_look(run, encoded, Draw(run.seed, ids, row)) for row in draws_of_visits(visits, run.draws)]
    said, info = looks[0] if len(looks) == 1 else _mean(looks)
    roles = tuple(pairs[0].answers)
    policy = dict(zip(roles, said["policy"], strict=True))
    reference = dict(zip(roles, said.get("reference", ()), strict=False))
    device = policy["chosen"].logps.device
    desirable = None
    if run.loss.accepts_undesirable:
        desirable = torch.tensor([pair.desirable for pair in pairs], device=device)
    beside = {name: (one, other) for name in said.keys() & {"previous", "second"} for one, other, *_ in (said[name],)}
    scores = PairLogps(
        policy["chosen"],
        policy.get("rejected"),
        reference.get("chosen"),
        reference.get("rejected"),
        desirable=desirable,
        baseline=point,
        further={role: AnswerLogps(policy[role], reference.get(role)) for role in roles if role not in SIDES}
        | ({"degree": AnswerLogps(*said["degree"])} if "degree" in said else {}),
        extra_models=beside,
        rewards={role: x.to(device) for role, x in rewards_of(run.loss, pairs).items()},
    )
    return scores, info


SIDES = {"chosen", "rejected"}
Said = dict[str, tuple[CandidateLogps, ...]]


def _look(run: ForwardContext, encoded: Any, draw: Draw) -> tuple[Said, dict[str, Tensor]]:
    """What each model says of all candidates at one draw."""
    needs = run.loss.needs
    said: Said = {}
    policy = run.policy
    reference: BatchLogps | None = None
    if "divergence" in needs:
        with run.accelerator.autocast():
            scored, reference = policy.compare_parts(encoded, draw)
    else:
        if "reference" in needs:
            # Two autocast blocks: one would hand the policy the casts that were made here, which carry no gradient.
            with torch.no_grad(), run.accelerator.autocast():
                reference = policy.reference_logps(encoded, draw)
        with run.accelerator.autocast():
            if "degree" in needs:
                assert isinstance(policy, SupportsContentDegree)  # see check_medium
                scored, told = policy.logps_with_degree(encoded, draw)
                said["degree"] = (CandidateLogps(told),)
            else:
                scored = policy.logps(encoded, draw)
    if "previous" in needs:
        with torch.no_grad(), run.accelerator.autocast():
            said["previous"] = policy.previous_logps(encoded, draw).candidates
    if "steps" in needs:
        assert isinstance(policy, SupportsSteps)  # see check_medium
        with torch.no_grad(), run.accelerator.autocast():
            scored = policy.with_steps(encoded, scored)
    if run.has_second_adapter:
        with run.accelerator.autocast():
            said["second"] = policy.second_adapter_logps(encoded, draw).candidates
    said["policy"] = scored.candidates
    if reference is not None:
        said["reference"] = reference.candidates
    return said, dict(scored.info)


def _mean(looks: Sequence[tuple[Said, Mapping[str, Tensor]]]) -> tuple[Said, dict[str, Tensor]]:
    """Means over several draws, of scores and of diagnostics."""

    def mean(values: Sequence[Any]) -> Any:
        return None if values[0] is None else torch.stack(list(values)).mean(0)

    def joined(rows: Sequence[CandidateLogps]) -> CandidateLogps:
        first = rows[0]
        parts, divergence = mean([row.parts for row in rows]), mean([row.divergence for row in rows])
        return replace(first, logps=mean([row.logps for row in rows]), parts=parts, divergence=divergence)

    saids, infos = zip(*looks, strict=True)
    said = {name: tuple(joined(rows) for rows in zip(*(one[name] for one in saids), strict=True)) for name in saids[0]}
    return said, {name: mean([info[name] for info in infos]) for name in infos[0]}
