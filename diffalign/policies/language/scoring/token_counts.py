"""Counted tokens: what a run computes, on any machine.

    F = reference + sampling + 3 policy

in forward passes of one token: a backward pass costs two. Activation checkpointing adds one ``policy``.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass


@dataclass
class TokenCounts:
    """Tokens computed so far, by what for.

    Args:
        policy: With a gradient.
        reference: For the reference's scores.
        sampling: Written.
        unshared: What ``policy`` would be with each prompt computed once per response.
    """

    policy: int = 0
    reference: int = 0
    sampling: int = 0
    unshared: int = 0

    @property
    def forwards(self) -> int:
        """All of them in forward passes of one token."""
        return 3 * self.policy + self.reference + self.sampling

    def summary(self) -> str:
        """One line."""
        kinds = ((self.policy, "policy"), (self.reference, "reference"), (self.sampling, "sampling"))
        shown = ", ".join(f"{count:,} {name}" for count, name in kinds if count)
        saved = f"; shared prompts saved {1 - self.policy / self.unshared:.0%}" if self.policy < self.unshared else ""
        return f"tokens computed: {shown} ({self.forwards:,} forward passes; one with a gradient counts three){saved}"

    def as_dict(self) -> dict[str, int]:
        """By name, with the sum ``forwards``."""
        return {**asdict(self), "forwards": self.forwards}
