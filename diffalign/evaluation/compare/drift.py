"""Drift: how far a policy is from its reference, measured on samples.

    texts       KL(policy || reference) = E[log policy(y) - log reference(y)] over its own answers, nats per answer
    images      E[mean squared difference of the two predictions] on its own images, at the noise levels of held-out
                pairs: the weighted integral of it over levels is the KL of the two samplers

Samples of the *reference* show where the probability went that training removed from both sides of the pairs, see
`losses.diagnostics.monitors.dispersion`.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from diffalign.evaluation.compare.differential_information_entropy import DifferentialEntropy, mean_differential_entropy
from diffalign.evaluation.samples.gallery import Gallery
from diffalign.losses.diagnostics.monitors import Dispersion, dispersion
from diffalign.policies.policy import Policy
from diffalign.policies.sample_logps import SampleLogps, sample_logps

PLAIN_SAMPLING = {"temperature": 1.0, "top_p": 1.0, "top_k": 0}
MOST_MEASURED = 100
"""Images or clips of a side that are measured."""


@dataclass(frozen=True)
class Drift:
    """A distance between policy and reference.

    Args:
        value: In ``unit``; an estimate, so a small one may come out below 0.
        error: Its standard error over samples.
        unit: Unit of ``value``.
        samples: Number of samples behind the estimate.
    """

    value: float
    error: float
    unit: str
    samples: int

    def summary(self) -> str:
        """Returns one sentence."""
        return f"Drift from the reference: {self.value:.3g} +- {2 * self.error:.2g} {self.unit}, over {self.samples}."


@dataclass(frozen=True)
class DriftMeasurement:
    """Distances from reference to policy, measured on the samples of an evaluation.

    Args:
        drift: From the policy's own samples.
        dispersion: Mean over prompts, from the reference's samples; None if the reference is not the base.
        evidence: Differential entropy of texts, from the policy's own; None with few answers per prompt, or if the
            sampling was not plain.
        plain: Whether samples were drawn at temperature 1 from all tokens, as the estimates for texts assume.
    """

    drift: Drift
    dispersion: Dispersion | None = None
    evidence: DifferentialEntropy | None = None
    plain: bool = True

    def summary(self) -> list[str]:
        """Returns one to three sentences."""
        sentences = [self.drift.summary()]
        if not self.plain:
            sentences.append(
                "The samples were not drawn at temperature 1 from all tokens, so this only approximates a KL."
            )
        if self.evidence is not None:
            sentences.append(self.evidence.summary())
        return sentences

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> DriftMeasurement:
        """Restores what ``dataclasses.asdict`` returned; null becomes nan."""

        def restore(kind: Any, entry: Mapping[str, Any] | None) -> Any:
            return None if entry is None else kind(**{k: math.nan if x is None else x for k, x in entry.items()})

        parts = {"drift": Drift, "dispersion": Dispersion, "evidence": DifferentialEntropy}
        return cls(**{name: restore(kind, values[name]) for name, kind in parts.items()}, plain=values["plain"])


def drift_of(logps: SampleLogps, medium: str) -> Drift | None:
    """Estimates the drift from the policy's own samples; None without samples.

    For images with a stored reference, the estimate is the difference of the two errors. Its expectation is the same if
    the policy predicts its own images as well as possible, but it has more noise.
    """
    values = torch.tensor(
        logps.logratios if logps.squared_change is None else logps.squared_change, dtype=torch.float64
    )
    if not len(values):
        return None
    if logps.squared_change is None and medium != "text":
        values *= 2.0
    error = float(values.std()) / math.sqrt(len(values)) if len(values) > 1 else math.inf
    unit = "nats per answer" if medium == "text" else "of squared change in the predictions"
    return Drift(float(values.mean()), error, unit, len(values))


def measure_drift(
    policy: Policy, base: Gallery, aligned: Gallery, *, seed: int = 0, batch: int = 8
) -> DriftMeasurement | None:
    """Measures drift, dispersion and differential entropy on the samples of an evaluation.

    Of images and clips at most :data:`MOST_MEASURED` a side are measured, evenly spaced: a pass of both networks at
    several noises costs half as much as sampling, and the result states its error.

    Args:
        policy: The model that made ``aligned``, with its reference.
        base, aligned: The samples of reference and policy.
        seed, batch: As in :func:`sample_logps`.

    Returns:
        None if no sample of the policy has content.
    """
    settings = aligned.made_by.get("settings", {})
    options = {"seed": seed, "batch": batch, "settings": settings}
    prompts, contents = _measured(aligned, policy.medium)
    own_samples = sample_logps(policy, prompts, contents, **options)
    drift = drift_of(own_samples, policy.medium)
    if drift is None:
        return None
    is_text = policy.medium == "text"
    plain = not is_text or all(settings.get(name, value) == value for name, value in PLAIN_SAMPLING.items())
    spread = None
    # An earlier policy as the reference is not the model that made the base samples.
    if policy.reference_kind != "earlier":
        base_prompts, base_contents = _measured(base, policy.medium)
        base_samples = sample_logps(policy, base_prompts, base_contents, **options)
        spread = _mean_dispersion(base_samples.logratios, [base_prompts[k] for k in base_samples.indices])
    entropy = None
    if is_text and plain:
        answered = [prompts[k] for k in own_samples.indices]
        entropy = mean_differential_entropy(own_samples.policy, own_samples.reference, answered)
    return DriftMeasurement(drift, spread, entropy, plain)


def _measured(gallery: Gallery, medium: str) -> tuple[list[Any], list[Any]]:
    """Returns prompts and contents of the samples to measure: all texts, or evenly spaced images or clips."""
    prompts, contents = [sample.prompt for sample in gallery.samples], gallery.contents()
    if medium == "text" or len(prompts) <= MOST_MEASURED:
        return prompts, contents
    chosen = [number * len(prompts) // MOST_MEASURED for number in range(MOST_MEASURED)]
    return [prompts[k] for k in chosen], [contents[k] for k in chosen]


def _mean_dispersion(logratios: Sequence[float], prompts: Sequence[Hashable]) -> Dispersion | None:
    """Returns the mean over prompts."""
    groups: dict[Hashable, list[float]] = {}
    for value, prompt in zip(logratios, prompts, strict=True):
        groups.setdefault(prompt, []).append(value)
    if not groups:
        return None
    dispersions = [dispersion(torch.tensor(group, dtype=torch.float64)) for group in groups.values()]
    return Dispersion(
        sum(d.rise for d in dispersions) / len(dispersions), sum(d.mean for d in dispersions) / len(dispersions)
    )
