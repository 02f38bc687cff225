"""Log-probabilities of samples under policy and reference.

Answers are tokenised again from their text, and an answer that was truncated counts as ended there. Both effects are
small next to a drift.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from diffalign.data.records.pair import Pair
from diffalign.policies.policy import Policy
from diffalign.randomness import Draw


@dataclass(frozen=True)
class SampleLogps:
    """Log-probabilities of samples under policy and reference; empty answers are left out.

    Args:
        indices: Indices of the samples that have content.
        policy, reference: Log-probabilities, means over draws, in the order of ``indices``.
        squared_change: Mean squared differences of the two predictions; None for texts, and if the reference is stored
            as numbers.
    """

    indices: tuple[int, ...]
    policy: tuple[float, ...]
    reference: tuple[float, ...]
    squared_change: tuple[float, ...] | None = None

    @property
    def logratios(self) -> tuple[float, ...]:
        """Log-probability under the policy minus that under the reference, for each sample."""
        return tuple(a - b for a, b in zip(self.policy, self.reference, strict=True))


@torch.no_grad()
def sample_logps(
    policy: Policy,
    prompts: Sequence[Any],
    contents: Sequence[Any],
    *,
    seed: int = 0,
    batch: int = 8,
    settings: Mapping[str, Any] | None = None,
    same_noise: bool = False,
) -> SampleLogps:
    """Computes the log-probabilities of samples under policy and reference.

    Args:
        policy: The aligned model with its reference.
        prompts, contents: ``N`` each; a text as a string, an image as any type that data sets may hold, such as a path.
        seed: Seed of the noise at which a denoiser is evaluated.
        batch: Samples per forward pass.
        settings: Sampling settings; they decide how a chat model's prompt is formatted.
        same_noise: Whether a denoiser is evaluated at the same noises for every sample, so that a number does not
            depend on the others; otherwise each has its own.
    """
    indices = [k for k, content in enumerate(contents) if not isinstance(content, str) or content.strip()]
    # A stored reference has errors only, so there are no predictions to compare.
    has_predictions = policy.medium != "text" and policy.reference_kind != "stored"
    columns: list[list[float]] = [[], [], []]
    training = policy.module.training
    policy.module.eval()
    try:
        for start in range(0, len(indices), batch):
            part = indices[start : start + batch]
            pairs = [
                Pair(f"sample/{k}", policy.format_prompt(prompts[k], **(settings or {})), contents[k], None)
                for k in part
            ]
            encoded = policy.encode(pairs)
            ids = tuple("sample" if same_noise else pair.id for pair in pairs)
            draws = []
            for number in range(policy.eval_draws):
                draw = Draw(seed, ids, (-1 - number,) * len(pairs))
                if has_predictions:
                    sides = [side.candidates[0] for side in policy.compare_parts(encoded, draw)]
                    divergence = sides[0].divergence
                    assert divergence is not None, "compare_parts returns divergences"
                    squared_change = [2.0 * divergence.sum(1)]
                else:
                    sides = [logps(encoded, draw).candidates[0] for logps in (policy.logps, policy.reference_logps)]
                    squared_change = []
                rows = [*(side.logps for side in sides), *squared_change]
                draws.append(torch.stack([row.double().cpu() for row in rows]))
            for column, values in zip(columns, torch.stack(draws).mean(0).tolist(), strict=False):
                column += values
    finally:
        policy.module.train(training)
    policy_logps, reference_logps, changes = map(tuple, columns)
    return SampleLogps(tuple(indices), policy_logps, reference_logps, changes or None)
