"""Counts computed tokens: the cost of a run on any machine.

    F = reference + sampling + 3 policy

in forward passes of one token, because a backward pass costs two. Activation checkpointing adds one ``policy``.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass


@dataclass
class TokenCounts:
    """Tokens computed so far, by purpose.

    Args:
        policy: Computed with gradient.
        reference: Computed for log-probabilities of the reference.
        sampling: Generated.
        policy_without_sharing: The value of ``policy`` if each prompt were computed once per response.
    """

    policy: int = 0
    reference: int = 0
    sampling: int = 0
    policy_without_sharing: int = 0

    @property
    def forwards(self) -> int:
        """The total in forward passes of one token."""
        return 3 * self.policy + self.reference + self.sampling

    def summary(self) -> str:
        """Returns one line for the end of a run."""
        counts = ((self.policy, "policy"), (self.reference, "reference"), (self.sampling, "sampling"))
        shown = ", ".join(f"{count:,} {name}" for count, name in counts if count)
        line = f"tokens computed: {shown} ({self.forwards:,} forward passes; one with a gradient counts three)"
        if self.policy >= self.policy_without_sharing:
            return line
        return f"{line}; shared prompts saved {1 - self.policy / self.policy_without_sharing:.0%}"

    def as_dict(self) -> dict[str, int]:
        """Returns the counts by name, with the total as ``forwards``."""
        return {**asdict(self), "forwards": self.forwards}
