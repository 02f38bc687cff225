"""What a loss receives of a batch: the scores of its candidates, and what else is known of them.

A pair has a chosen and a rejected candidate. A single example has one, in the chosen one's place, which is to be learnt
or, where it is not *desirable*, to be avoided. A ranked list has its best candidate as the chosen and its worst as the
rejected one, and those between as further answers called "2", "3", ... by their rank.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from diffalign.losses.candidate_logps import CandidateLogps, interpolate, swap_rows, upcast


@dataclass(frozen=True)
class AnswerLogps:
    """Scores of one answer beside the pair's two candidates.

    Args:
        policy: Under the policy.
        reference: Under the reference, without gradient; None where it was not asked.
    """

    policy: CandidateLogps
    reference: CandidateLogps | None = None

    @property
    def logratio(self) -> Tensor:
        """``(B,)``: how much likelier the policy makes the answer than the reference does."""
        return _logratio(self.policy, self.reference)


@dataclass(frozen=True)
class PairLogps:
    """Scores of a batch of pairs, or of single candidates: then the rejected one is None. So is an absent reference.

    Args:
        chosen: Policy scores of the preferred candidates.
        rejected: Policy scores of the others; None where examples are single.
        reference_chosen: Reference scores of the preferred candidates, without gradient.
        reference_rejected: Reference scores of the others, without gradient.
        desirable: ``(B,)`` of booleans, of single candidates: which are to be learnt. None: all.
        baseline: A scalar without gradient: the logratio that counts as neither gain nor loss. None: nobody asked.
        further: Scores of further answers by role: "2", "3", ... within a ranked list, "gold", "calibration", ...
        extra_models: Scores of the pair's two candidates under further models: "previous", the policy as it was;
            "second", the other of two adapters.
        rewards: What was said of the candidates beforehand, ``(B,)`` each, by role: "chosen", "rejected", "2", ...
    """

    chosen: CandidateLogps
    rejected: CandidateLogps | None = None
    reference_chosen: CandidateLogps | None = None
    reference_rejected: CandidateLogps | None = None
    desirable: Tensor | None = None
    baseline: Tensor | None = None
    further: Mapping[str, AnswerLogps] = field(default_factory=dict)
    extra_models: Mapping[str, tuple[CandidateLogps, CandidateLogps | None]] = field(default_factory=dict)
    rewards: Mapping[str, Tensor] = field(default_factory=dict)

    @property
    def pair(self) -> tuple[CandidateLogps, CandidateLogps]:
        """Policy scores ``(chosen, rejected)``. Raises ValueError for single candidates."""
        return self.chosen, _other(self.rejected)

    @property
    def chosen_logratio(self) -> Tensor:
        """``(B,)``: how much likelier the policy makes the chosen candidate than the reference does."""
        return _logratio(self.chosen, self.reference_chosen)

    @property
    def rejected_logratio(self) -> Tensor:
        """``(B,)``: the same for the rejected candidate."""
        return _logratio(_other(self.rejected), self.reference_rejected)

    @property
    def logratios(self) -> tuple[Tensor, Tensor]:
        """``(chosen, rejected)`` logratios, each ``(B,)``."""
        return self.chosen_logratio, self.rejected_logratio

    @property
    def margin(self) -> Tensor:
        """``(B,)``: chosen logratio minus rejected logratio, positive when the policy agrees with the label.

        Policy gap minus reference gap, in this order: the large common part cancels before the small rest is taken.
        """
        rejected = _other(self.rejected)
        if self.reference_chosen is None or self.reference_rejected is None:
            raise ValueError("this loss compares with a reference, but the scores carry none; score the reference too")
        policy = upcast(self.chosen.logps) - upcast(rejected.logps)
        reference = upcast(self.reference_chosen.logps) - upcast(self.reference_rejected.logps)
        return policy - reference.detach()

    def answer(self, role: str) -> AnswerLogps:
        """The further answer of a role. Raises ValueError where there is none."""
        if role not in self.further:
            raise ValueError(
                f"this loss reads a further answer, '{role}', but the scores carry {', '.join(self.further) or 'none'};"
                f" give each pair one (a column '{role}' of the data)"
            )
        return self.further[role]

    def under(self, model: str) -> tuple[CandidateLogps, CandidateLogps]:
        """The pair's scores ``(chosen, rejected)`` under a further model. Raises ValueError where nobody asked it."""
        if model not in self.extra_models:
            raise ValueError(f"this loss reads scores under the {model} policy, but there are none; score it too")
        one, other = self.extra_models[model]
        return one, _other(other)

    def reward(self, role: str) -> Tensor:
        """``(B,)``: what was said of a candidate beforehand. Raises ValueError where nothing was."""
        if role not in self.rewards:
            raise ValueError(
                f"this loss reads rewards of the data, but there is none of the {role} candidate; score the pairs "
                "first (`diffalign score`), or give them columns"
            )
        return upcast(self.rewards[role]).detach()

    @property
    def ranked(self) -> dict[str, AnswerLogps]:
        """The candidates of a ranked list by role, best first: "chosen", "2", "3", ..., "rejected"."""
        interpolate = {role: self.further[role] for role in sorted((r for r in self.further if r.isdigit()), key=int)}
        best = AnswerLogps(self.chosen, self.reference_chosen)
        return {"chosen": best, **interpolate, "rejected": AnswerLogps(_other(self.rejected), self.reference_rejected)}

    def detach(self) -> PairLogps:
        """The same numbers without a gradient."""
        return self._each(CandidateLogps.detach)

    def scaled(self, factor: Tensor) -> PairLogps:
        """Every logratio, so every margin too, times its pair's factor, ``(B,)``; negative ones turn it round.

        A factor of 1 changes no bit. Without a reference the log-probabilities themselves are scaled.
        """
        return self._each(lambda scores: scores.scaled(factor))

    def per_token(self) -> PairLogps:
        """Every log-probability divided by its candidate's number of tokens, so every logratio too; the reference's by
        the policy's lengths: it is the same candidate. The margin is then one of means."""

        def mean(
            policy: CandidateLogps | None, reference: CandidateLogps | None
        ) -> tuple[CandidateLogps | None, CandidateLogps | None]:
            if policy is None:
                return None, reference
            lengths = policy.lengths
            return policy.per_token(), None if reference is None else reference.per_token(lengths)

        chosen, reference_chosen = mean(self.chosen, self.reference_chosen)
        rejected, reference_rejected = mean(self.rejected, self.reference_rejected)
        assert chosen is not None
        further = {}
        for role, answer in self.further.items():
            policy, reference = mean(answer.policy, answer.reference)
            assert policy is not None
            further[role] = AnswerLogps(policy, reference)
        beside = {}
        for name, (one, other) in self.extra_models.items():
            lengths = None if self.rejected is None else self.rejected.lengths
            beside[name] = (
                one.per_token(self.chosen.lengths),
                None if other is None else other.per_token(lengths),
            )
        return replace(
            self,
            chosen=chosen,
            rejected=rejected,
            reference_chosen=reference_chosen,
            reference_rejected=reference_rejected,
            further=further,
            extra_models=beside,
        )

    def desensitised(self, alpha: float) -> PairLogps:
        """Tokens behind the length of the pair's shorter answer count by ``alpha``, under policy and reference alike.

        Source: Liu et al. 2024 (arXiv 2409.06411), LD-DPO. Raises ValueError for scores without tokens.
        """
        chosen, rejected = self.pair
        if chosen.lengths is None or rejected.lengths is None:
            raise ValueError("ld_alpha weighs the tokens that the longer answer has more, but these scores have none")
        common = torch.minimum(chosen.lengths, rejected.lengths).unsqueeze(1)

        def weighed(scores: CandidateLogps | None) -> Any:
            if scores is None:
                return None
            if scores.parts is None:
                raise ValueError("ld_alpha needs each token's log-probability, but these scores are sums alone")
            parts = upcast(scores.parts)
            behind = torch.arange(parts.shape[1], device=parts.device) >= common.to(parts.device)
            parts = torch.where(behind, alpha * parts, parts)
            return replace(scores, logps=parts.sum(1), parts=parts)

        sides = (self.chosen, self.rejected, self.reference_chosen, self.reference_rejected)
        one, other, reference_one, reference_other = map(weighed, sides)
        return replace(
            self,
            chosen=one,
            rejected=other,
            reference_chosen=reference_one,
            reference_rejected=reference_other,
            extra_models={name: (weighed(a), weighed(b)) for name, (a, b) in self.extra_models.items()},
        )

    def gated(self, gate: Tensor) -> PairLogps:
        """The rejected logratio times its pair's gate, ``(B,)``; the chosen one stays.

            rejected logp = reference + gate (policy - reference)

        A gate of 1 changes no bit, 0 drops the rejected candidate, -1 learns from it as from the chosen one.
        """
        policy, reference = _other(self.rejected), self.reference_rejected
        if reference is None:
            raise ValueError("a gate acts on the rejected logratio, but the scores carry no reference; score it too")
        parts = policy.parts
        if parts is not None and reference.parts is not None:
            parts = interpolate(reference.parts, parts, gate.unsqueeze(1))
        prompts = policy.prompts
        if prompts is not None and reference.prompts is not None:
            prompts = interpolate(reference.prompts, prompts, gate)
        logps = interpolate(reference.logps, policy.logps, gate)
        return replace(self, rejected=replace(policy, logps=logps, parts=parts, prompts=prompts))

    def swapped(self, where: Tensor | None = None) -> PairLogps:
        """The same pairs with the opposite label: every margin changes its sign.

        Further answers that mirror each other, as "augmented_chosen" and "augmented_rejected", change places too.

        Args:
            where: ``(B,)`` of booleans: only these pairs are turned round. None turns all.
        """
        rejected = _other(self.rejected)
        if where is None:
            where = torch.ones(len(rejected.logps), dtype=torch.bool, device=rejected.logps.device)

        def turned(one: CandidateLogps | None, other: CandidateLogps | None) -> tuple[Any, Any]:
            return (one, other) if one is None or other is None else swap_rows(one, other, where)

        further, rewards = dict(self.further), dict(self.rewards)
        for role in dict.fromkeys((*rewards, *further)):
            image = _mirrored(role)
            if role < image and role in rewards and image in rewards:
                there = where.to(rewards[role].device)
                good, bad = rewards[role], rewards[image]
                rewards |= {role: torch.where(there, bad, good), image: torch.where(there, good, bad)}
            if role < image and role in further and image in further:
                policies = turned(further[role].policy, further[image].policy)
                references = turned(further[role].reference, further[image].reference)
                further |= dict(zip((role, image), map(AnswerLogps, policies, references), strict=True))
        chosen, rejected = turned(self.chosen, rejected)
        references = turned(self.reference_chosen, self.reference_rejected)
        return replace(
            self,
            chosen=chosen,
            rejected=rejected,
            reference_chosen=references[0],
            reference_rejected=references[1],
            further=further,
            extra_models={name: turned(one, other) for name, (one, other) in self.extra_models.items()},
            rewards=rewards,
        )

    def _each(self, function: Callable[[CandidateLogps], CandidateLogps]) -> PairLogps:
        def made(scores: CandidateLogps | None) -> CandidateLogps | None:
            return None if scores is None else function(scores)

        return replace(
            self,
            chosen=function(self.chosen),
            rejected=made(self.rejected),
            reference_chosen=made(self.reference_chosen),
            reference_rejected=made(self.reference_rejected),
            further={r: AnswerLogps(function(a.policy), made(a.reference)) for r, a in self.further.items()},
            extra_models={name: (function(one), made(other)) for name, (one, other) in self.extra_models.items()},
        )


def _other(rejected: CandidateLogps | None) -> CandidateLogps:
    if rejected is None:
        raise ValueError(
            "this compares two candidates, but the scores are of single ones (rejected is None); train single examples "
            "with a loss that looks at one candidate alone, such as sft or kto"
        )
    return rejected


def _mirrored(role: str) -> str:
    """What a role is called with the two candidates exchanged."""
    swap = {"chosen": "rejected", "rejected": "chosen"}
    return "_".join(swap.get(word, word) for word in role.split("_"))


def _logratio(policy: CandidateLogps, reference: CandidateLogps | None) -> Tensor:
    if reference is None:
        raise ValueError("a logratio compares with a reference, but the scores carry none; score the reference too")
    return upcast(policy.logps) - upcast(reference.logps).detach()
