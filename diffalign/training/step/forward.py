"""Computes the log-probabilities of a micro-batch under policy and reference, in the form that a loss reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from diffalign.data.records.pair import Pair
from diffalign.losses import AnswerLogps, CandidateLogps, Objective, PairLogps
from diffalign.policies.policy import BatchLogps, Policy, SupportsContentDegree, SupportsSteps
from diffalign.randomness import Draw
from diffalign.training.step.batch_order import Visit, draws_of_visits
from diffalign.training.step.stored_scores import rewards_of

CANDIDATES = {"chosen", "rejected"}
ByModel = dict[str, tuple[CandidateLogps, ...]]
"""All answers' log-probabilities by model: "policy", "reference", "previous" (the policy as it was), "second" (the
second adapter); and "degree", the log-probability of a right answer of the content-degree head."""


class BatchNumbers(NamedTuple):
    """Numbers of a whole batch of single examples, over all processes and micro-batches, that a loss reads.

    Args:
        baseline: The KTO baseline or the BCO shift; None: the loss needs none.
        desirable_share: The share of desirable examples; None: the loss needs none.
    """

    baseline: Tensor | None = None
    desirable_share: Tensor | None = None


NO_NUMBERS = BatchNumbers()
"""For losses that read each example by itself."""


class ForwardContext(Protocol):
    """The parts of a run that a forward pass needs."""

    accelerator: Any
    policy: Policy
    loss: Objective
    seed: int
    micro_batch_size: int
    draws: int

    @property
    def has_second_adapter(self) -> bool:
        """Whether a second adapter is trained too."""


def in_microbatch_order(policy: Policy, pairs: Sequence[Pair], visits: Sequence[Visit]) -> list[Visit]:
    """Returns the visits of a batch in the order in which the policy wants them cut into micro-batches."""
    return [visits[k] for k in policy.microbatch_order([pairs[index] for index, _ in visits])]


def pair_logps(
    run: ForwardContext, pairs: Sequence[Pair], visits: Sequence[int], numbers: BatchNumbers = NO_NUMBERS
) -> tuple[PairLogps, dict[str, Tensor]]:
    """Returns the log-probabilities of a micro-batch under every model that the loss reads, and diagnostics.

    Where the run takes several draws per pair, both are means over the draws.

    Args:
        run: Policy, loss, precision, seed and draws per pair.
        pairs: The micro-batch.
        visits: How often each of its pairs has been seen.
        numbers: Numbers of the whole batch, where the loss needs any.
    """
    needs, policy = run.loss.needs, run.policy
    encoded = policy.encode(pairs, prompts="prompts" in needs)
    ids = tuple(pair.id for pair in pairs)
    at_draws: list[tuple[ByModel, Mapping[str, Tensor]]] = []
    for visits_of_draw in draws_of_visits(visits, run.draws):
        draw = Draw(run.seed, ids, visits_of_draw)
        by_model: ByModel = {}
        reference: BatchLogps | None = None
        if "reference" in needs and "divergence" not in needs:
            # An autocast block of its own: one for both would hand the policy casts that carry no gradient.
            with torch.no_grad(), run.accelerator.autocast():
                reference = policy.reference_logps(encoded, draw)
        with run.accelerator.autocast():
            if "divergence" in needs:
                logps, reference = policy.compare_parts(encoded, draw)
            elif "degree" in needs:
                assert isinstance(policy, SupportsContentDegree)  # see check_medium
                logps, degree = policy.logps_with_degree(encoded, draw)
                by_model["degree"] = (CandidateLogps(degree),)
            else:
                logps = policy.logps(encoded, draw)
        if "steps" in needs:
            assert isinstance(policy, SupportsSteps)  # see check_medium
            with torch.no_grad(), run.accelerator.autocast():
                logps = policy.with_steps(encoded, logps)
        by_model |= _extra_models(run, encoded, draw)
        by_model["policy"] = logps.candidates
        if reference is not None:
            by_model["reference"] = reference.candidates
        at_draws.append((by_model, dict(logps.info)))
    by_model, info = _mean_over_draws(at_draws)
    return _as_pairs(run.loss, pairs, by_model, numbers), info


def _extra_models(run: ForwardContext, encoded: Any, draw: Draw) -> ByModel:
    """Returns the log-probabilities under the policy as it was and under the second adapter, where they are needed."""
    by_model: ByModel = {}
    if "previous" in run.loss.needs:
        with torch.no_grad(), run.accelerator.autocast():
            by_model["previous"] = run.policy.previous_logps(encoded, draw).candidates
    if run.has_second_adapter:
        with run.accelerator.autocast():
            by_model["second"] = run.policy.second_adapter_logps(encoded, draw).candidates
    return by_model


def _mean_over_draws(
    at_draws: Sequence[tuple[ByModel, Mapping[str, Tensor]]],
) -> tuple[ByModel, dict[str, Tensor]]:
    """Returns means over several draws, of log-probabilities and of diagnostics; those of one draw as they are."""
    if len(at_draws) == 1:
        by_model, info = at_draws[0]
        return by_model, dict(info)

    def mean(values: Sequence[Any]) -> Any:
        return None if values[0] is None else torch.stack(list(values)).mean(0)

    def joined(rows: Sequence[CandidateLogps]) -> CandidateLogps:
        parts, divergence = mean([row.parts for row in rows]), mean([row.divergence for row in rows])
        return replace(rows[0], logps=mean([row.logps for row in rows]), parts=parts, divergence=divergence)

    models, infos = zip(*at_draws, strict=True)
    by_model = {
        name: tuple(joined(rows) for rows in zip(*(model[name] for model in models), strict=True)) for name in models[0]
    }
    return by_model, {name: mean([info[name] for info in infos]) for name in infos[0]}


def _as_pairs(loss: Objective, pairs: Sequence[Pair], by_model: ByModel, numbers: BatchNumbers) -> PairLogps:
    """Returns the log-probabilities by role of the candidates, with everything else that the loss reads."""
    roles = tuple(pairs[0].answers)
    policy = dict(zip(roles, by_model["policy"], strict=True))
    reference = dict(zip(roles, by_model.get("reference", ()), strict=False))
    device = policy["chosen"].logps.device
    further = {role: AnswerLogps(policy[role], reference.get(role)) for role in roles if role not in CANDIDATES}
    if "degree" in by_model:
        further["degree"] = AnswerLogps(*by_model["degree"])
    desirable = None
    if loss.accepts_undesirable:
        desirable = torch.tensor([pair.desirable for pair in pairs], device=device)
    return PairLogps(
        policy["chosen"],
        policy.get("rejected"),
        reference.get("chosen"),
        reference.get("rejected"),
        desirable=desirable,
        baseline=numbers.baseline,
        desirable_share=numbers.desirable_share,
        further=further,
        extra_models={
            name: (chosen, rejected)
            for name in by_model.keys() & {"previous", "second"}
            for chosen, rejected, *_ in (by_model[name],)
        },
        rewards={role: rewards.to(device) for role, rewards in rewards_of(loss, pairs).items()},
    )
