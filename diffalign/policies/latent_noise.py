"""The noise that latents hold, as a probe found it: in words for the header of a run, its report and the check of data.

    x_t = a_t x0 + s_t tau        rms(tau) is 1 for noise, at every level

Inverted latents hold less (see `diffalign.latents.unit_noise`). Where the noise is known that a candidate was sampled
from, the cosine of ``tau`` with it says how well the inversion finds it back: 1 is the noise itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

LOW_RMS = 0.8
"""Latents whose noise has a smaller rms than this hold clearly less noise than the network expects."""
MENDS = (
    "Correct the steps (latents renoise with corrections: 4), fill the noise up (unit_noise: fill), begin at a noisy "
    "latent (start: 60), or take more steps (steps, with spacing: 2): docs/choosing.md, Less noise than the level says."
)
"""The options that mend a lack of noise."""


@dataclass(frozen=True)
class SeedCosine:
    """How much of the noise of seeds an inversion finds back.

    Args:
        value: Mean cosine of ``tau`` with the noise of a candidate's seed.
        level: The noisiest level, where a sampler begins: at lower levels even its own path holds another ``tau``.
        candidates: Number of candidates whose seed is known.
        elements: Numbers in a latent: the cosine of two independent noises has a standard deviation of
            ``1 / sqrt(elements candidates)``.
    """

    value: float
    level: int
    candidates: int
    elements: int

    @property
    def by_chance(self) -> bool:
        """Whether independent noises would be as much alike: the seeds then belong to another model or sampler."""
        return not self.value > 4.0 / (self.elements * self.candidates) ** 0.5

    def __str__(self) -> str:
        text = f"cosine {self.value:.2f} with the noise of {self.candidates} seeds, at level {self.level}"
        return f"{text} (no likeness: another model, resolution or sampler drew these)" if self.by_chance else text


@dataclass(frozen=True)
class LatentNoise:
    """The noise of the latents at which some pairs are scored.

    Args:
        latents: Name and settings of the latents.
        rms: Mean over the candidates of ``rms(tau)``, by level.
        pairs: Number of pairs.
        forwards: Forward passes of one latent that the measurement took.
        cosine: The cosine with the noise of the candidates' seeds; None: they have no seeds.
    """

    latents: str
    rms: Mapping[int, float]
    pairs: int
    forwards: int
    cosine: SeedCosine | None = None

    def summary(self) -> str:
        """Returns one line: rms by level, and the cosine where it is known."""
        levels = ", ".join(f"{value:.2f} at {level}" for level, value in self.rms.items())
        seeds = f"; {self.cosine}" if self.cosine is not None else ""
        return f"rms by level {levels}, where noise has 1{seeds} ({self.pairs} pairs, {self.forwards:,} forward passes)"

    def warning(self) -> str:
        """Returns what the latents lack and what mends it; empty where they lack little."""
        return f"{lack}. {MENDS}" if (lack := self.lack()) else ""

    def lack(self) -> str:
        """Returns what the latents lack and what follows, without a full stop; empty where they lack little."""
        lowest = min(self.rms, key=self.rms.__getitem__)
        if not self.rms[lowest] < LOW_RMS:
            return ""
        return (
            f"the latents of {self.latents} hold less noise than their levels say (rms {self.rms[lowest]:.2f} at level "
            f"{lowest}), so both candidates of a pair teach the network to predict less noise"
        )
