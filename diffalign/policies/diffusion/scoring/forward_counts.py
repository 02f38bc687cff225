"""Counts the forward passes of a denoiser: the cost of a method, on any machine.

    F = reference + inversion + sampling + no_grad + probe + 3 policy

in forward passes of one latent: a backward pass costs two. Activation checkpointing adds one ``policy``.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import torch


@dataclass
class ForwardCounts:
    """Numbers of latents that the network has evaluated so far, by purpose.

    Args:
        policy: With a gradient.
        reference: For the reference's log-probabilities.
        inversion: For inverting latents.
        sampling: For drawing samples; two per step and sample with guidance.
        no_grad: Under the policy without a gradient: held-out pairs, baselines of a batch, further votes of a gate.
        probe: For measuring the noise of latents and the error under forward noising, see `noise_probe`.
    """

    policy: int = 0
    reference: int = 0
    inversion: int = 0
    sampling: int = 0
    no_grad: int = 0
    probe: int = 0

    def add_policy(self, latents: int) -> None:
        """Counts latents that the policy evaluates, with a gradient or, within ``torch.no_grad``, without."""
        if torch.is_grad_enabled():
            self.policy += latents
        else:
            self.no_grad += latents

    def add(self, purpose: str, count: int) -> None:
        """Adds evaluations under the name of their purpose."""
        setattr(self, purpose, getattr(self, purpose) + count)

    @property
    def forwards(self) -> int:
        """The total in forward passes of one latent."""
        return 3 * self.policy + self.reference + self.inversion + self.sampling + self.no_grad + self.probe

    def summary(self) -> str:
        """Returns one line."""
        words = {"no_grad": "policy without a gradient"}
        kinds = ", ".join(f"{count:,} {words.get(name, name)}" for name, count in asdict(self).items() if count)
        return f"latents evaluated: {kinds} ({self.forwards:,} forward passes; one with a gradient counts three)"

    def as_dict(self) -> dict[str, int]:
        """Returns the counts by name, with their total ``forwards``."""
        return {**asdict(self), "forwards": self.forwards}
