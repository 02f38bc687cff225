"""The noisy inputs of a batch, built once for policy and reference, with the latents from the right source.

live      the inverter computes them at each step
stored    the frozen reference computed them before training, for planned visits (`store`)
window    the policy computes them once for all visits of the next steps (`refresh`)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from diffalign.policies.diffusion.scoring.denoiser_scoring import (
    Denoiser,
    DenoiserInputs,
    EncodedCandidates,
    NetworkCall,
)
from diffalign.policies.diffusion.scoring.stored_results import StoredLatents
from diffalign.randomness import Draw


class NoisyInputs:
    """Builds the inputs of batches, and keeps the last.

    Args:
        denoiser: The rules of scoring.
        inverter: Calls the network that an inversion follows.
        version: Changes whenever the inverter does: inputs that another one computed are not used again.
        stored: The reference's latents; None where none are stored.
    """

    def __init__(
        self, denoiser: Denoiser, inverter: NetworkCall, version: Callable[[], int], stored: StoredLatents | None = None
    ) -> None:
        self.denoiser = denoiser
        self.stored = stored
        self.window: StoredLatents | None = None
        self._inverter = inverter
        self._version = version
        self._last: tuple[EncodedCandidates, Draw, int, DenoiserInputs] | None = None

    def build(self, encoded: EncodedCandidates, draw: Draw, keys: Sequence[str]) -> DenoiserInputs:
        """Returns the inputs of this batch, kept until the next, so that policy and reference get the same."""
        version, last = self._version(), self._last
        if last is None or last[0] is not encoded or last[1] != draw or last[2] != version:
            stored = None
            for store in (self.window, self.stored):
                if stored is None and store is not None:
                    stored = store.get(keys, encoded.mean.device)
            with torch.no_grad():
                inputs = self.denoiser.build_inputs(encoded, draw, self._inverter, stored)
            self._last = last = encoded, draw, version, inputs
        return last[3]
