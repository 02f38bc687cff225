"""Posing: the question of a batch, put once to policy and reference; and who finds the latents where one must ask.

live      the inverter is asked at each step
stored    the frozen reference was asked before training, for planned visits (`store`)
window    the policy is asked once for all visits of the next steps (`refresh`)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor, nn

from diffalign.policies.diffusion.scoring.denoiser import Denoiser, DenoiserInputs, EncodedImages, Predict
from diffalign.policies.diffusion.scoring.stored_scores import StoredLatents
from diffalign.policies.module_utils import without_cast_cache
from diffalign.randomness import Draw


class NoisyInputs:
    """Poses batches, and keeps the last question.

    Args:
        denoiser: The rules of judging.
        ask: The inverting network.
        version: Changes whenever the inverting network does: a question found by another one is not put again.
        stored: What the reference found beforehand; None where nothing is stored.
    """

    def __init__(
        self, denoiser: Denoiser, ask: Predict, version: Callable[[], int], stored: StoredLatents | None = None
    ) -> None:
        self.denoiser = denoiser
        self.stored = stored
        self.window: StoredLatents | None = None
        self._ask = ask
        self._version = version
        self._last: tuple[EncodedImages, Draw, int, DenoiserInputs] | None = None

    def __call__(self, encoded: EncodedImages, draw: Draw, keys: Sequence[str]) -> DenoiserInputs:
        """The question of this batch, kept until the next: policy and reference are asked the same."""
        version, last = self._version(), self._last
        if last is None or last[0] is not encoded or last[1] != draw or last[2] != version:
            found = None
            for store in (self.window, self.stored):
                if found is None and store is not None:
                    found = store.get(keys, encoded.mean.device)
            with torch.no_grad():
                self._last = last = encoded, draw, version, self.denoiser.build_inputs(encoded, draw, self._ask, found)
        return last[3]


def predict_with(
    network: Callable[[], AbstractContextManager[nn.Module]], call: Callable[..., Tensor], count: Callable[[int], Any]
) -> Predict:
    """Asks a network without a gradient, in float32 outside: ``network`` lends it, ``count`` is told the rows."""

    def ask(x_t: Tensor, t: Tensor, conditioning: Mapping[str, Tensor]) -> Tensor:
        count(len(x_t))
        with torch.no_grad(), without_cast_cache(x_t.device), network() as lent:
            return call(lent, x_t, t, conditioning).float()

    return ask
