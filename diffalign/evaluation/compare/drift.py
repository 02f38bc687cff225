"""Drift: how far a policy has gone from its reference, and what both say of samples.

    texts       KL(policy || reference) = E[log policy(y) - log reference(y)] over its own answers, nats per answer
    images    E[mean squared difference of the two predictions] on its own images, at the noise levels of held-out
                pairs: the weighted integral of it over levels is the KL of the two samplers

Samples of the *reference* tell where the probability went that training took from both sides of the pairs, see
`losses.monitors.dispersion`. Answers are tokenised again from their text, and an answer that was cut at its longest
counts as ended there: both are small next to what is measured.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from diffalign.data.records.pair import Pair
from diffalign.evaluation.compare.differential_entropy import DifferentialEntropy, evidence
from diffalign.evaluation.samples.generate import Gallery
from diffalign.losses.diagnostics.monitors import Dispersion, dispersion
from diffalign.policies.policy import Policy
from diffalign.randomness import Draw


@dataclass(frozen=True)
class Said:
    """What two models say of samples; those without content are left out.

    Args:
        places: Which of the samples.
        policy, reference: Log-probabilities, means over looks, in the order of ``places``.
        change: Mean squared differences of the two predictions; None for texts, and where the reference's are unknown.
    """

    places: tuple[int, ...]
    policy: tuple[float, ...]
    reference: tuple[float, ...]
    change: tuple[float, ...] | None = None

    @property
    def logratios(self) -> tuple[float, ...]:
        """How much likelier the policy finds each sample."""
        return tuple(a - b for a, b in zip(self.policy, self.reference, strict=True))


@dataclass(frozen=True)
class Drift:
    """A distance between policy and reference.

    Args:
        value: In ``unit``; an estimate, so a small one may come out below 0.
        error: Its standard error over samples.
        unit: What is counted.
        samples: How many samples it rests on.
    """

    value: float
    error: float
    unit: str
    samples: int

    def summary(self) -> str:
        """One sentence."""
        return f"Drift from the reference: {self.value:.3g} +- {2 * self.error:.2g} {self.unit}, over {self.samples}."


@dataclass(frozen=True)
class Sampled:
    """What the samples of an evaluation tell of the step from reference to policy.

    Args:
        drift: From the policy's own samples.
        dispersion: Mean over prompts, from the reference's samples; None where the reference is not the base.
        evidence: Of texts, from the policy's own; None with few answers per prompt, or other than plain sampling.
        plain: Whether samples were drawn at temperature 1 from all tokens, as the estimates for texts assume.
    """

    drift: Drift
    dispersion: Dispersion | None = None
    evidence: DifferentialEntropy | None = None
    plain: bool = True

    def summary(self) -> list[str]:
        """A sentence or two."""
        told = [self.drift.summary()]
        if not self.plain:
            told.append("The samples were not drawn at temperature 1 from all tokens, so this is no KL but a likeness.")
        if self.evidence is not None:
            told.append(self.evidence.summary())
        return told

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Sampled:
        """From what ``dataclasses.asdict`` made of it; null becomes nan."""

        def made(kind: Any, entry: Mapping[str, Any] | None) -> Any:
            return None if entry is None else kind(**{k: math.nan if x is None else x for k, x in entry.items()})

        parts = {"drift": Drift, "dispersion": Dispersion, "evidence": DifferentialEntropy}
        return cls(**{name: made(kind, values[name]) for name, kind in parts.items()}, plain=values["plain"])


@torch.no_grad()
def ask(
    policy: Policy,
    prompts: Sequence[Any],
    contents: Sequence[Any],
    *,
    seed: int = 0,
    batch: int = 8,
    settings: Mapping[str, Any] | None = None,
) -> Said:
    """Asks policy and reference what they say of samples.

    Args:
        policy: The aligned model with its reference.
        prompts, contents: ``N`` each; a text as text, an image as what a data set may hold, such as a path.
        seed: Of the draws at which a denoiser is asked.
        batch: Samples at once.
        settings: How the samples were drawn, because it decides how a chat model was asked.
    """
    places = [k for k, content in enumerate(contents) if not isinstance(content, str) or content.strip()]
    compare: Any = None  # of a reference of which only errors are stored there is no prediction to compare with
    if policy.medium != "text" and policy.reference_kind != "stored":
        compare = policy.compare_parts
    found: list[list[float]] = [[], [], []]
    mode = policy.module.training
    policy.module.eval()
    try:
        for start in range(0, len(places), batch):
            part = places[start : start + batch]
            pairs = [
                Pair(f"sample/{k}", policy.format_prompt(prompts[k], **(settings or {})), contents[k], None)
                for k in part
            ]
            encoded = policy.encode(pairs)
            looks = []
            for look in range(policy.eval_draws):
                draw = Draw(seed, tuple(pair.id for pair in pairs), (-1 - look,) * len(pairs))
                if compare is not None:
                    sides = [side.candidates[0] for side in compare(encoded, draw)]
                    apart = [2.0 * sides[0].divergence.sum(1)]
                else:
                    sides = [side(encoded, draw).candidates[0] for side in (policy.logps, policy.reference_logps)]
                    apart = []
                rows = [*(side.logps for side in sides), *apart]
                looks.append(torch.stack([row.double().cpu() for row in rows]))
            for column, values in zip(found, torch.stack(looks).mean(0).tolist(), strict=False):
                column += values
    finally:
        policy.module.train(mode)
    return Said(tuple(places), tuple(found[0]), tuple(found[1]), tuple(found[2]) if found[2] else None)


def drift_of(said: Said, medium: str) -> Drift | None:
    """The drift that a policy's own samples show; None without samples.

    Of images without a reference's predictions it is the difference of the two errors: the same in expectation, with
    more noise, where a policy predicts its own images as well as they can be.
    """
    values = torch.tensor(said.logratios if said.change is None else said.change, dtype=torch.float64)
    if not len(values):
        return None
    if said.change is None and medium != "text":
        values *= 2.0
    error = float(values.std()) / math.sqrt(len(values)) if len(values) > 1 else math.inf
    unit = "nats per answer" if medium == "text" else "of squared change in the predictions"
    return Drift(float(values.mean()), error, unit, len(values))


def sampled(policy: Policy, base: Gallery, aligned: Gallery, *, seed: int = 0, batch: int = 8) -> Sampled | None:
    """Looks at the samples of an evaluation.

    Args:
        policy: The model that made ``aligned``, with its reference.
        base, aligned: The samples of reference and policy.
        seed, batch: As in :func:`ask`.

    Returns:
        None where no sample of the policy has content.
    """
    drawn = aligned.made_by.get("settings", {})
    how = {"seed": seed, "batch": batch, "settings": drawn}
    own = ask(policy, [s.prompt for s in aligned.samples], aligned.contents(), **how)
    drift = drift_of(own, policy.medium)
    if drift is None:
        return None
    texts = policy.medium == "text"
    plain = not texts or [drawn.get(*x) for x in (("temperature", 1.0), ("top_p", 1.0), ("top_k", 0))] == [1.0, 1.0, 0]
    spread = None
    if policy.reference_kind != "earlier":  # an earlier checkpoint is not the model that made the base samples
        theirs = ask(policy, [s.prompt for s in base.samples], base.contents(), **how)
        spread = _dispersion(theirs.logratios, [base.samples[k].prompt for k in theirs.places])
    found = None
    if texts and plain:
        found = evidence(own.policy, own.reference, [aligned.samples[k].prompt for k in own.places])
    return Sampled(drift, spread, found, plain)


def _dispersion(logratios: Sequence[float], prompts: Sequence[Hashable]) -> Dispersion | None:
    """Mean over prompts."""
    groups: dict[Hashable, list[float]] = {}
    for value, prompt in zip(logratios, prompts, strict=True):
        groups.setdefault(prompt, []).append(value)
    if not groups:
        return None
    found = [dispersion(torch.tensor(group, dtype=torch.float64)) for group in groups.values()]
    return Dispersion(sum(d.rise for d in found) / len(found), sum(d.mean for d in found) / len(found))
