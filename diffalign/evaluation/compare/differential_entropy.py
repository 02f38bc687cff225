"""Evidence: what answers of a language model tell of the step from its reference to it.

The evidence that turns a reference into a policy lies on answers in proportion to ``q(y) = policy(y) / reference(y)``,
normalised. Its entropy is low where few answers carry it, which sharpens the policy; high where many do, which smooths
it and may lower the likelihood even of chosen answers while margins grow. From K answers drawn from the policy:

    w_i   = softmax_i(-log reference(y_i)),     g_i = log policy(y_i) - log reference(y_i)
    log Z = logsumexp_i(-log reference(y_i)) - log K
    H     = log Z - sum_i w_i g_i

Only for texts: a denoiser's surrogate is no normalised log-probability.

Source: Won et al. 2025 (arXiv 2505.23761), where K is 32.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np

FEWEST = 4
"""Answers per prompt from which on the estimate is made."""
EFFECTIVE = 2.0
"""Effective answers below which it means nothing."""


@dataclass(frozen=True)
class DifferentialEntropy:
    """The estimate for one prompt, or the mean over several.

    Args:
        entropy: ``H``, nats; nan where fewer than two answers carry the weight.
        effective: ``1 / sum w_i^2``, how many of the K answers the estimate rests on.
        spread: The milder number: entropy of ``softmax(g_i)`` over log K, in [0, 1]: 1 where training changed all
            answers alike.
        answers: K, per prompt.
        prompts: How many prompts there are.
        usable: Of how many the entropy is known.
    """

    entropy: float
    effective: float
    spread: float
    answers: int
    prompts: int = 1
    usable: int = 1

    def summary(self) -> str:
        """One sentence, with what it is worth."""
        mild = f"the milder spread of log-ratios is {self.spread:.2f} (1: all answers changed alike)"
        if not self.usable:
            return (
                f"The entropy of the differential information is unknown: of {self.answers} answers per prompt fewer "
                f"than two carry the weight ({self.effective:.1f} on average); {mild}. Shorter answers or more seeds "
                "per prompt may help."
            )
        return (
            f"Entropy of the differential information: {self.entropy:.3g} nats over {self.usable} of {self.prompts} "
            f"prompts ({self.effective:.1f} of {self.answers} answers carry the weight); {mild}."
        )


def differential_entropy(
    policy: Sequence[float], reference: Sequence[float], *, tau: float = 1.0
) -> DifferentialEntropy:
    """The estimate for one prompt.

    Args:
        policy: ``(K,)``, K at least 2: log-probabilities of answers under the policy that they were drawn from, at
            temperature 1 and from all tokens.
        reference: ``(K,)``, under the reference.
        tau: Divides the log-ratios of the milder number.

    Facts: where policy and reference agree, H tends to the log of the number of answers there are. Only
        the ratio counts: models that are multiplied by the same function, and normalised again, have the same H.
    """
    ours, theirs = np.asarray(policy, np.float64), np.asarray(reference, np.float64)
    ratio, count = ours - theirs, len(ours)
    weight = _softmax(-theirs)
    effective = float(1.0 / (weight**2).sum())
    log_z = float(_logsumexp(-theirs)) - math.log(count)
    entropy = log_z - float(weight @ ratio) if effective >= EFFECTIVE else math.nan
    mild = _softmax(ratio / tau)
    spread = -float((mild * np.log(np.maximum(mild, 1e-300))).sum()) / math.log(count)
    return DifferentialEntropy(entropy, effective, spread, count, usable=int(math.isfinite(entropy)))


def evidence(
    policy: Sequence[float], reference: Sequence[float], prompts: Sequence[Hashable]
) -> DifferentialEntropy | None:
    """The mean over prompts; None where none has :data:`FEWEST` answers.

    Args:
        policy, reference: ``(N,)``, log-probabilities as of :func:`differential_entropy`.
        prompts: ``(N,)``, the prompt of each answer.
    """
    groups: dict[Hashable, list[int]] = {}
    for index, prompt in enumerate(prompts):
        groups.setdefault(prompt, []).append(index)
    found = [
        differential_entropy([policy[i] for i in group], [reference[i] for i in group])
        for group in groups.values()
        if len(group) >= FEWEST
    ]
    if not found:
        return None
    known = [one.entropy for one in found if one.usable]
    return DifferentialEntropy(
        entropy=float(np.mean(known)) if known else math.nan,
        effective=float(np.mean([one.effective for one in found])),
        spread=float(np.mean([one.spread for one in found])),
        answers=max(one.answers for one in found),
        prompts=len(found),
        usable=len(known),
    )


def _logsumexp(values: np.ndarray) -> float:
    top = values.max()
    return float(top + np.log(np.exp(values - top).sum()))


def _softmax(values: np.ndarray) -> np.ndarray:
    return np.exp(values - _logsumexp(values))
