"""Probes of a denoiser on a few pairs: the noise of the latents where it scores them, and its error under plain noise.

    rms(tau) by level            x_t = a_t x0 + s_t tau, as in training
    cosine(tau, eps)             at the noisiest level, of candidates whose seed is known; eps is the seed's noise
    error under forward noising  mean over a pair's candidates of e(a_t x0 + s_t eps), always at the same t and eps

Candidates are neither mirrored nor scored without their prompt. Draws belong to visits below 0, which training never
uses. Nothing is kept: a probe leaves a run as it was.

A seed's noise is known for samples of the model itself only: at a schedule's noisiest level a sampler's path begins at
the noise of its seed (`sampling.initial_noise`), so there the inversion of a sample can be compared with it. At lower
levels it cannot: along the sampler's own path ``tau`` moves away from that noise.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from statistics import fmean

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity

from diffalign.data.records.pair import Pair
from diffalign.data.records.seeds import seed_of
from diffalign.latents import LATENTS
from diffalign.latents.estimator import BoundEstimator
from diffalign.latents.surrogate_error import mean_squared_error
from diffalign.latents.unit_noise import rms
from diffalign.policies.diffusion.sampling.initial_noise import initial_noise
from diffalign.policies.diffusion.scoring.denoiser_scoring import Denoiser, DenoiserInputs, EncodedCandidates
from diffalign.policies.diffusion.scoring.policy_and_reference import PolicyAndReference
from diffalign.policies.latent_noise import LatentNoise, SeedCosine
from diffalign.randomness import Draw

LEVELS = 4
"""Levels at which the rms of latents is measured."""
FORWARD_DRAWS = 2
"""Levels, each with a noise of its own, at which a pair's error under forward noising is measured."""


class NoiseProbe:
    """Measures a policy as it is.

    Args:
        scores: The policy with its rules of scoring.
        encode: Turns pairs of one size into tensors on the device.
        groups: Returns the indices of the pairs of each size.
    """

    def __init__(
        self,
        scores: PolicyAndReference,
        encode: Callable[[Sequence[Pair]], EncodedCandidates],
        groups: Callable[[Sequence[Pair]], list[list[int]]],
    ) -> None:
        self._scores = scores
        self._encode, self._groups = encode, groups
        self._denoiser = replace(scores.denoiser, caption_dropout=0.0, flip="none")

    @torch.no_grad()
    def latent_noise(
        self, pairs: Sequence[Pair], estimate: BoundEstimator | None = None, batch: int = 8
    ) -> LatentNoise:
        """Returns the noise of the pairs' latents at :data:`LEVELS` levels, spread over those that a run draws.

        Args:
            pairs: A few pairs, with answers for the same roles.
            estimate: Way to find the latents; None: that of the policy's configuration.
            batch: Pairs at a time.
        """
        denoiser = replace(self._denoiser, estimate=estimate or self._denoiser.estimate)
        before = self._scores.forward_counts.probe
        sizes: dict[int, list[float]] = {level: [] for level in denoiser.spread_levels(LEVELS)}
        top, cosines, elements = denoiser.schedule.informative - 1, list[float](), 0
        for part, encoded in self._batches(pairs, batch):
            seeds = [seed_of(pair, role) for role in part[0].answers for pair in part]
            seeds_known = any(seed is not None for seed in seeds)
            for level in sorted({*sizes, top} if seeds_known else sizes):
                tau = denoiser.tau(self._inputs(denoiser, encoded, part, level))
                if level in sizes:
                    sizes[level] += rms(tau).tolist()
            if seeds_known:  # tau is that of the top, the last level
                cosines += [
                    float(cosine_similarity(row.flatten(), initial_noise(seed, row.shape).to(row).flatten(), 0))
                    for row, seed in zip(tau, seeds, strict=True)
                    if seed is not None
                ]
                elements = tau[0].numel()
        cosine = SeedCosine(fmean(cosines), top, len(cosines), elements) if cosines else None
        means = {level: fmean(found) for level, found in sizes.items()}
        cost = self._scores.forward_counts.probe - before
        return LatentNoise(str(denoiser.estimate), means, len(pairs), cost, cosine)

    @torch.no_grad()
    def forward_errors(self, pairs: Sequence[Pair], batch: int = 8) -> list[float]:
        """Returns each pair's mean error at forward latents, at the same levels and noises at every call.

        The :data:`FORWARD_DRAWS` levels of each pair are spread, over all pairs, over those that a run draws. It costs
        that many forward passes per candidate.
        """
        denoiser = replace(self._denoiser, estimate=LATENTS["forward"].bind())
        levels = torch.tensor(denoiser.spread_levels(FORWARD_DRAWS * len(pairs))).view(FORWARD_DRAWS, -1)
        errors: list[float] = []
        for part, encoded in self._batches(pairs, batch):
            total = torch.zeros(len(part))
            for number, row in enumerate(levels[:, len(errors) : len(errors) + len(part)]):
                inputs = self._inputs(denoiser, encoded, part, row, visit=-1 - number)
                output = self._scores.probe(inputs.x_t, inputs.time, inputs.conditioning)
                reduction, weights = denoiser.reduction, inputs.frame_weights
                found = mean_squared_error(output, inputs.target, reduction=reduction, weights=weights)
                total += found.view(inputs.candidates, -1).mean(0).cpu()
            errors += (total / FORWARD_DRAWS).tolist()
        return errors

    def _batches(self, pairs: Sequence[Pair], size: int) -> Iterator[tuple[Sequence[Pair], EncodedCandidates]]:
        for group in self._groups(pairs):
            for start in range(0, len(group), size):
                part = [pairs[index] for index in group[start : start + size]]
                yield part, self._encode(part)

    def _inputs(
        self,
        denoiser: Denoiser,
        encoded: EncodedCandidates,
        pairs: Sequence[Pair],
        level: int | Tensor,
        visit: int = -1,
    ) -> DenoiserInputs:
        levels = level if isinstance(level, Tensor) else torch.full((len(pairs),), level)
        draw = Draw(0, tuple(pair.id for pair in pairs), (visit,) * len(pairs))
        return denoiser.build_inputs(encoded, draw, self._scores.probe, levels=levels)
