"""What a run says about the noise of inverted latents: how much they hold before training, and while it trains how the
policy's error under plain noise compares with the base's.

    forward/error             mean error at forward latents of a few pairs, the same levels and noises every time
    forward/error_change      the same, minus that before training
    forward/error_change_se   standard error of this change, over the pairs

Runs at forward latents have no use for either: there the noise is plain noise, and ``error/..._change`` says the rest.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Any

from diffalign.data.records.pair import Pair
from diffalign.devices.out_of_memory import explain_out_of_memory
from diffalign.policies.latent_noise import LatentNoise
from diffalign.policies.policy import Policy, SupportsNoiseProbe

LATENT_PAIRS = 4
"""Pairs whose latents are measured before training: about 240 forward passes for ten steps of DDIM inversion."""
FORWARD_PAIRS = 8
"""Pairs of the error under forward noising: 32 forward passes for each record of the metrics."""


def probe_pairs(pairs: Sequence[Pair], count: int) -> list[Pair]:
    """Returns up to ``count`` pairs from all over the data, with answers for the same roles as the first."""
    spread = dict.fromkeys(k * len(pairs) // count for k in range(count))
    picked = [pairs[index] for index in spread]
    return [pair for pair in picked if pair.answers.keys() == picked[0].answers.keys()]


@dataclass(frozen=True)
class NoiseWatch:
    """Follows the error under forward noising.

    Args:
        before: The noise of the latents before training.
        policy: The policy that is trained.
        accelerator: For the precision of training.
        pairs: The pairs of the error.
        batch: Pairs at a time.
        base: Each pair's error before training.
    """

    before: LatentNoise
    policy: SupportsNoiseProbe
    accelerator: Any
    pairs: list[Pair]
    batch: int
    base: list[float]

    @staticmethod
    def begin(policy: Policy, accelerator: Any, pairs: Sequence[Pair], batch: int) -> NoiseWatch | None:
        """Measures a policy that equals its base: before the first step, and after a resume before the weights of a
        checkpoint are put back. Returns None for a policy that inverts nothing, and on processes that log nothing.
        """
        if not accelerator.is_main_process or not isinstance(policy, SupportsNoiseProbe) or not policy.inverts:
            return None
        advice = f"Type: --set train.micro_batch_size={max(1, batch // 2)}"
        with explain_out_of_memory("the noise of inverted latents is measured", advice), accelerator.autocast():
            before = policy.latent_noise(probe_pairs(pairs, LATENT_PAIRS), batch=batch)
            followed = probe_pairs(pairs, FORWARD_PAIRS)
            base = policy.forward_errors(followed, batch)
        return NoiseWatch(before, policy, accelerator, followed, batch, base)

    def lines(self) -> list[str]:
        """Returns what the header says: the noise by level, and a warning where the latents lack noise."""
        warning = self.before.warning()
        return [f"noise    {self.before.summary()}", *([f"warning: {warning}"] if warning else [])]

    def measure(self) -> dict[str, float]:
        """Returns the metrics of the policy as it is."""
        with self.accelerator.autocast():
            errors = self.policy.forward_errors(self.pairs, self.batch)
        changes = [error - base for error, base in zip(errors, self.base, strict=True)]
        record = {"forward/error": fmean(errors), "forward/error_change": fmean(changes)}
        if len(changes) > 1:
            record["forward/error_change_se"] = stdev(changes) / math.sqrt(len(changes))
        return record
