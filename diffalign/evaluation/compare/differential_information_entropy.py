"""Differential entropy: how many answers carry the change from a reference to a language model.

The change is the distribution ``q(y) = policy(y) / reference(y)``, normalised. If few answers carry it, its entropy is
low and training sharpens the policy. If many do, its entropy is high and training smooths the policy, which may lower
the likelihood even of chosen answers while margins grow. From K answers drawn from the policy:

    w_i   = softmax_i(-log reference(y_i)),     g_i = log policy(y_i) - log reference(y_i)
    log Z = logsumexp_i(-log reference(y_i)) - log K
    H     = log Z - sum_i w_i g_i

Only for texts: a denoiser's surrogate is not a normalised log-probability.

Source: Won et al. 2025 (arXiv 2505.23761), where K is 32.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np

MIN_ANSWERS = 4
"""Fewest answers per prompt for an estimate."""
MIN_EFFECTIVE = 2.0
"""Fewest effective answers for a meaningful estimate."""


@dataclass(frozen=True)
class DifferentialEntropy:
    """The estimate for one prompt, or the mean over several.

    Args:
        entropy: ``H``, nats; nan if fewer than two answers carry the weight.
        effective: ``1 / sum w_i^2``, the effective number of answers behind the estimate.
        spread: A more robust number: the entropy of ``softmax(g_i)`` over log K, in [0, 1]; 1 if training changed all
            answers equally.
        answers: K, per prompt.
        prompts: Number of prompts.
        usable: Number of prompts with a finite entropy.
    """

    entropy: float
    effective: float
    spread: float
    answers: int
    prompts: int = 1
    usable: int = 1

    def summary(self) -> str:
        """Returns one sentence with the estimate and its effective sample size."""
        spread = f"the spread of log-ratios is {self.spread:.2f} (1: all answers changed equally)"
        if not self.usable:
            return (
                f"The entropy of the differential information is unknown: fewer than two of {self.answers} answers per "
                f"prompt carry the weight ({self.effective:.1f} on average); {spread}. Shorter answers or more seeds "
                "per prompt may help."
            )
        return (
            f"Entropy of the differential information: {self.entropy:.3g} nats over {self.usable} of {self.prompts} "
            f"prompts ({self.effective:.1f} of {self.answers} answers carry the weight); {spread}."
        )


def differential_entropy(
    policy: Sequence[float], reference: Sequence[float], *, tau: float = 1.0
) -> DifferentialEntropy:
    """Estimates the entropy for one prompt.

    Args:
        policy: ``(K,)``, K at least 2: log-probabilities of answers under the policy that they were drawn from, at
            temperature 1 and from all tokens.
        reference: ``(K,)``, under the reference.
        tau: Divides the log-ratios in ``spread``.

    Facts: if policy and reference agree, H tends to the log of the number of possible answers. Only the ratio counts:
        models that are multiplied by the same function, and normalised again, have the same H.
    """
    logps, ref_logps = np.asarray(policy, np.float64), np.asarray(reference, np.float64)
    logratio, count = logps - ref_logps, len(logps)
    weight = _softmax(-ref_logps)
    effective = float(1.0 / (weight**2).sum())
    log_z = float(_logsumexp(-ref_logps)) - math.log(count)
    entropy = log_z - float(weight @ logratio) if effective >= MIN_EFFECTIVE else math.nan
    share = _softmax(logratio / tau)
    spread = -float((share * np.log(np.maximum(share, 1e-300))).sum()) / math.log(count)
    return DifferentialEntropy(entropy, effective, spread, count, usable=int(math.isfinite(entropy)))


def mean_differential_entropy(
    policy: Sequence[float], reference: Sequence[float], prompts: Sequence[Hashable]
) -> DifferentialEntropy | None:
    """Returns the mean over prompts, or None if no prompt has :data:`MIN_ANSWERS` answers.

    Args:
        policy, reference: ``(N,)``, log-probabilities as of :func:`differential_entropy`.
        prompts: ``(N,)``, the prompt of each answer.
    """
    groups: dict[Hashable, list[int]] = {}
    for index, prompt in enumerate(prompts):
        groups.setdefault(prompt, []).append(index)
    estimates = [
        differential_entropy([policy[i] for i in group], [reference[i] for i in group])
        for group in groups.values()
        if len(group) >= MIN_ANSWERS
    ]
    if not estimates:
        return None
    entropies = [one.entropy for one in estimates if one.usable]
    return DifferentialEntropy(
        entropy=float(np.mean(entropies)) if entropies else math.nan,
        effective=float(np.mean([one.effective for one in estimates])),
        spread=float(np.mean([one.spread for one in estimates])),
        answers=max(one.answers for one in estimates),
        prompts=len(estimates),
        usable=len(entropies),
    )


def _logsumexp(values: np.ndarray) -> float:
    top = values.max()
    return float(top + np.log(np.exp(values - top).sum()))


def _softmax(values: np.ndarray) -> np.ndarray:
    return np.exp(values - _logsumexp(values))
