"""Log-probabilities of a batch of examples under all models, and further inputs of a loss.

A pair has a chosen and a rejected candidate. A single example has one, in the place of the chosen one, to be learnt or,
where it is not *desirable*, to be avoided. A ranked list has its best candidate as the chosen and its worst as the
rejected one, and those between as further answers "2", "3", ... by their rank.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from diffalign.losses.candidate_logps import CandidateLogps, upcast

POLICY, REFERENCE = "policy", "reference"
CHOSEN, REJECTED = "chosen", "rejected"

ModelAndRole = tuple[str, str]
"""A model ("policy", "reference", "previous", ...) and a candidate ("chosen", "rejected", "2", "gold", ...)."""


@dataclass(frozen=True)
class AnswerLogps:
    """Log-probabilities of one answer.

    Args:
        policy: Under the policy.
        reference: Under the reference, without gradient; None where it was not computed.
    """

    policy: CandidateLogps
    reference: CandidateLogps | None = None

    @property
    def logratio(self) -> Tensor:
        """``(B,)``: how much likelier the answer is under the policy than under the reference."""
        if self.reference is None:
            raise _no_reference()
        return upcast(self.policy.logps) - upcast(self.reference.logps).detach()

    @property
    def part_logratios(self) -> Tensor:
        """``(B, N)``: the logratio of each part. Raises ValueError for log-probabilities that are sums."""
        if self.reference is None:
            raise _no_reference()
        if self.policy.parts is None or self.reference.parts is None:
            raise ValueError(
                "this loss reads the log-probability of each token under policy and reference, but only sums are "
                "given; compute both during training instead of reading a stored reference"
            )
        return upcast(self.policy.parts) - upcast(self.reference.parts).detach()


@dataclass(frozen=True)
class PairLogps:
    """Log-probabilities of a batch of pairs, or of single candidates: then ``rejected`` is None.

    Args:
        chosen: The preferred candidates under the policy.
        rejected: The other candidates under the policy; None where examples are single.
        reference_chosen: The preferred candidates under the reference, without gradient; None: not computed.
        reference_rejected: The other candidates under the reference, without gradient.
        desirable: ``(B,)`` of booleans, of single candidates: which are to be learnt. None: all.
        baseline: A scalar without gradient: the logratio that counts as neither gain nor loss. None: not computed.
        desirable_share: A scalar: the share of desirable examples in the whole batch. None: not computed.
        further: Further answers by role: "2", "3", ... within a ranked list, "gold", "calibration", ...
        extra_models: The pair's two candidates under further models: "previous", the policy at an earlier step;
            "second", the other of two adapters.
        rewards: Rewards of the candidates from the data, ``(B,)`` each, by role: "chosen", "rejected", "2", ...
    """

    chosen: CandidateLogps
    rejected: CandidateLogps | None = None
    reference_chosen: CandidateLogps | None = None
    reference_rejected: CandidateLogps | None = None
    desirable: Tensor | None = None
    baseline: Tensor | None = None
    desirable_share: Tensor | None = None
    further: Mapping[str, AnswerLogps] = field(default_factory=dict)
    extra_models: Mapping[str, tuple[CandidateLogps, CandidateLogps | None]] = field(default_factory=dict)
    rewards: Mapping[str, Tensor] = field(default_factory=dict)

    @property
    def pair(self) -> tuple[CandidateLogps, CandidateLogps]:
        """``(chosen, rejected)`` under the policy. Raises ValueError for single candidates."""
        return self.chosen, _required(self.rejected)

    @property
    def reference_pair(self) -> tuple[CandidateLogps, CandidateLogps]:
        """``(chosen, rejected)`` under the reference. Raises ValueError where it was not computed."""
        if self.reference_chosen is None or self.reference_rejected is None:
            raise _no_reference()
        return self.reference_chosen, self.reference_rejected

    @property
    def answers(self) -> tuple[AnswerLogps, AnswerLogps]:
        """``(chosen, rejected)`` under policy and reference. Raises ValueError for single candidates."""
        chosen, rejected = self.pair
        return AnswerLogps(chosen, self.reference_chosen), AnswerLogps(rejected, self.reference_rejected)

    @property
    def chosen_logratio(self) -> Tensor:
        """``(B,)``: how much likelier the chosen candidate is under the policy than under the reference."""
        return AnswerLogps(self.chosen, self.reference_chosen).logratio

    @property
    def rejected_logratio(self) -> Tensor:
        """``(B,)``: the same for the rejected candidate."""
        return self.answers[1].logratio

    @property
    def logratios(self) -> tuple[Tensor, Tensor]:
        """``(chosen, rejected)`` logratios, each ``(B,)``."""
        return self.chosen_logratio, self.rejected_logratio

    @property
    def gaps(self) -> tuple[Tensor, Tensor]:
        """``(B,)`` under policy and reference, the latter without gradient: chosen minus rejected log-probability."""
        (chosen, rejected), (reference_chosen, reference_rejected) = self.pair, self.reference_pair
        policy = upcast(chosen.logps) - upcast(rejected.logps)
        return policy, (upcast(reference_chosen.logps) - upcast(reference_rejected.logps)).detach()

    @property
    def margin(self) -> Tensor:
        """``(B,)``: chosen logratio minus rejected logratio, positive when the policy agrees with the label.

        Policy gap minus reference gap, in this order: the large common part cancels first.
        """
        policy, reference = self.gaps
        return policy - reference

    def answer(self, role: str) -> AnswerLogps:
        """Returns the further answer of a role. Raises ValueError where there is none."""
        if role not in self.further:
            raise ValueError(
                f"this loss reads a further answer, '{role}', but the examples have "
                f"{', '.join(self.further) or 'none'}; give each pair one (a column '{role}' of the data)"
            )
        return self.further[role]

    def under(self, model: str) -> tuple[CandidateLogps, CandidateLogps]:
        """Returns ``(chosen, rejected)`` under a further model. Raises ValueError where they were not computed."""
        if model not in self.extra_models:
            raise ValueError(
                f"this loss reads log-probabilities under the {model} policy, but they were not computed; compute them "
                "too"
            )
        chosen, rejected = self.extra_models[model]
        return chosen, _required(rejected)

    def reward(self, role: str) -> Tensor:
        """Returns ``(B,)``, the data's reward of a candidate. Raises ValueError where there is none."""
        if role not in self.rewards:
            raise ValueError(
                f"this loss reads rewards of the data, but there is none of the {role} candidate; score the pairs "
                "first (`diffalign score`), or give them columns"
            )
        return upcast(self.rewards[role]).detach()

    @property
    def ranked(self) -> dict[str, AnswerLogps]:
        """The candidates of a ranked list by role, best first: "chosen", "2", "3", ..., "rejected"."""
        best, worst = self.answers
        between = sorted((role for role in self.further if role.isdigit()), key=int)
        return {CHOSEN: best, **{role: self.further[role] for role in between}, REJECTED: worst}

    def detach(self) -> PairLogps:
        """Returns the same numbers without a gradient."""
        return self._map(lambda model, role, logps: logps.detach())

    def scaled(self, factor: Tensor) -> PairLogps:
        """Returns every logratio, so every margin too, times its pair's factor, ``(B,)``; negative ones swap the pair.

        A factor of 1 changes no bit. Without a reference the log-probabilities themselves are scaled.
        """
        return self._map(lambda model, role, logps: logps.scaled(factor))

    def per_token(self) -> PairLogps:
        """Returns every log-probability divided by its candidate's number of tokens. The lengths are the policy's under
        each model: it is the same candidate. The margin is then one of means.
        """
        lengths = {role: logps.lengths for (model, role), logps in self._by_model_and_role().items() if model == POLICY}
        return self._map(lambda model, role, logps: logps.per_token(lengths.get(role)))

    def length_desensitised(self, alpha: float) -> PairLogps:
        """Returns the pair with tokens beyond the length of its shorter answer times ``alpha``, under every model.

        Source: Liu et al. 2024 (arXiv 2409.06411), LD-DPO. Raises ValueError for log-probabilities without tokens.
        """
        chosen, rejected = self.pair
        if chosen.lengths is None or rejected.lengths is None:
            raise ValueError("ld_alpha weighs the tokens by which one answer is longer, but these have no lengths")
        common = torch.minimum(chosen.lengths, rejected.lengths).unsqueeze(1)
        return self._map(
            lambda model, role, logps: logps.length_desensitised(common, alpha) if role in (CHOSEN, REJECTED) else logps
        )

    def gated(self, gate: Tensor) -> PairLogps:
        """Returns the pair with the rejected logratio times its gate, ``(B,)``; the chosen one stays.

            rejected logp = reference + gate (policy - reference)

        A gate of 1 changes no bit, 0 drops the rejected candidate, -1 learns from it as from the chosen one.
        """
        rejected = self.answers[1]
        if rejected.reference is None:
            raise _no_reference()
        return replace(self, rejected=rejected.policy.gated(rejected.reference, gate))

    def swapped(self, where: Tensor | None = None) -> PairLogps:
        """Returns the same pairs with the opposite label: every margin changes its sign.

        Further answers of opposite roles, such as "augmented_chosen" and "augmented_rejected", are swapped too.

        Args:
            where: ``(B,)`` of booleans: only these pairs are swapped. None: all.
        """
        _, rejected = self.pair
        rows = torch.ones_like(rejected.logps, dtype=torch.bool) if where is None else where
        candidates = self._by_model_and_role()

        def swap(model: str, role: str, logps: CandidateLogps) -> CandidateLogps:
            opposite = candidates.get((model, _opposite(role)))
            return logps if opposite is None or _opposite(role) == role else logps.where(rows, opposite)

        rewards = {
            role: torch.where(rows.to(value.device), self.rewards.get(_opposite(role), value), value)
            for role, value in self.rewards.items()
        }
        return replace(self._map(swap), rewards=rewards)

    def _by_model_and_role(self) -> dict[ModelAndRole, CandidateLogps]:
        """Returns every candidate under every model."""
        logps = {
            (POLICY, CHOSEN): self.chosen,
            (POLICY, REJECTED): self.rejected,
            (REFERENCE, CHOSEN): self.reference_chosen,
            (REFERENCE, REJECTED): self.reference_rejected,
        }
        for role, answer in self.further.items():
            logps |= {(POLICY, role): answer.policy, (REFERENCE, role): answer.reference}
        for model, (chosen, rejected) in self.extra_models.items():
            logps |= {(model, CHOSEN): chosen, (model, REJECTED): rejected}
        return {key: value for key, value in logps.items() if value is not None}

    def _map(self, function: Callable[[str, str, CandidateLogps], CandidateLogps]) -> PairLogps:
        """Returns the batch with ``function(model, role, logps)`` in place of each candidate's log-probabilities."""
        new = {(model, role): function(model, role, x) for (model, role), x in self._by_model_and_role().items()}
        return replace(
            self,
            chosen=new[POLICY, CHOSEN],
            rejected=new.get((POLICY, REJECTED)),
            reference_chosen=new.get((REFERENCE, CHOSEN)),
            reference_rejected=new.get((REFERENCE, REJECTED)),
            further={role: AnswerLogps(new[POLICY, role], new.get((REFERENCE, role))) for role in self.further},
            extra_models={model: (new[model, CHOSEN], new.get((model, REJECTED))) for model in self.extra_models},
        )


def _required(rejected: CandidateLogps | None) -> CandidateLogps:
    if rejected is None:
        raise ValueError(
            "this compares two candidates, but these examples are single ones (rejected is None); train single "
            "examples with a loss on one candidate, such as sft or kto"
        )
    return rejected


def _no_reference() -> ValueError:
    return ValueError(
        "this compares with a reference, but the reference's log-probabilities were not computed; compute them too"
    )


def _opposite(role: str) -> str:
    """Returns the role of the same answer where the two candidates are swapped."""
    swap = {CHOSEN: REJECTED, REJECTED: CHOSEN}
    return "_".join(swap.get(word, word) for word in role.split("_"))
