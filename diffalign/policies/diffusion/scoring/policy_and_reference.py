"""Log-probabilities under a denoiser and its reference, live or looked up, for image and video policies."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from diffalign.data.records.pair import Pair
from diffalign.data.storage.tensor_cache import TensorCache, Writer
from diffalign.devices.halving import Pieces
from diffalign.devices.processes import ALONE, Processes
from diffalign.errors import ConfigError
from diffalign.policies.diffusion.config import ModelConfig
from diffalign.policies.diffusion.families import Family
from diffalign.policies.diffusion.scoring.by_size import rows_of
from diffalign.policies.diffusion.scoring.denoiser_scoring import (
    Denoiser,
    DenoiserInputs,
    EncodedCandidates,
    NetworkCall,
    logps_of_errors,
)
from diffalign.policies.diffusion.scoring.forward_counts import ForwardCounts
from diffalign.policies.diffusion.scoring.noisy_inputs import NoisyInputs
from diffalign.policies.diffusion.scoring.position_masks import middle_block_outputs, position_masks
from diffalign.policies.diffusion.scoring.stored_results import StoredErrors, StoredLatents
from diffalign.policies.diffusion.scoring.visits import Visits
from diffalign.policies.divergence_and_mask_metrics import part_diagnostics
from diffalign.policies.module_utils import WriteCounter, unwrap, without_cast_cache
from diffalign.policies.policy import BatchLogps, Plan, Progress
from diffalign.policies.references import EarlierCheckpoint, Reference, base_network, choose_reference
from diffalign.policies.second_adapter import SecondAdapter
from diffalign.randomness import Draw


class PolicyAndReference:
    """Scores candidates under policy and reference.

    Args:
        module: Returns the policy's network as it is now, distributed wrappers included.
        trainable: The parameters that train.
        family: The model's family.
        denoiser: The rules.
        config: The model's section of the recipe.
        encode: Turns pairs of one size into tensors on the device.
        groups: Returns the indices of the pairs of each size.
        pair_key: Identity of everything that a pair's tensors are made from.
        fingerprint: Identity of weights and rules, for results that are kept on disk.
        load_base: Loads the base network once more, frozen, on the device.
        device: Where they compute.
    """

    def __init__(
        self,
        module: Callable[[], nn.Module],
        trainable: Mapping[str, nn.Parameter],
        family: Family,
        denoiser: Denoiser,
        config: ModelConfig,
        encode: Callable[[Sequence[Pair]], EncodedCandidates],
        groups: Callable[[Sequence[Pair]], list[list[int]]],
        pair_key: Callable[[Pair], str],
        fingerprint: str,
        load_base: Callable[[], nn.Module],
        device: torch.device,
    ) -> None:
        self.denoiser = denoiser
        self.forward_counts = ForwardCounts()
        self._module, self._trainable, self._family, self._config = module, dict(trainable), family, config
        self._encode, self._groups = encode, groups
        self._fingerprint, self._load_base = fingerprint, load_base
        network = unwrap(module())
        self.device = device
        self.dtype: torch.dtype = getattr(torch, config.dtype) if config.adapter is not None else torch.float32
        self._visits = Visits(config.draws, pair_key, self.device)
        self.reference: Reference
        self.reference_kind, self.reference = choose_reference(config, network, self.device, load_base)
        self._initial = self.reference_kind, self.reference
        self._previous: EarlierCheckpoint | None = None
        self._reference_changes = 0
        self._errors = StoredErrors(self._cache("errors")) if self.reference_kind == "stored" else None
        self._noisy_inputs = self._make_noisy_inputs()
        self.probe = self._without_gradient(lambda: nullcontext(unwrap(self._module())), "probe")

    def policy_logps(self, encoded: EncodedCandidates, draw: Draw, second: SecondAdapter | None = None) -> BatchLogps:
        """Returns log-probabilities under the policy, or under its second adapter, with gradient."""
        inputs = self.inputs(encoded, draw)
        self.forward_counts.add_policy(len(inputs.t))
        network = self._module() if second is None else second.network(unwrap(self._module()))
        output = self._family.call(network, inputs.x_t, inputs.time, inputs.conditioning, self.dtype)
        return self.denoiser.logps(output, inputs)

    @torch.no_grad()
    def reference_logps(self, encoded: EncodedCandidates, draw: Draw) -> BatchLogps:
        """Returns log-probabilities under the reference: looked up where they are stored, otherwise computed."""
        if self._errors is not None:
            stored = self._errors.get(self._visits.keys(encoded, self._visits.cycle(draw)), self.device)
            if stored is not None:
                return logps_of_errors(*stored)
        return self._frozen_logps(encoded, draw, self.reference)

    @torch.no_grad()
    def previous_logps(self, encoded: EncodedCandidates, draw: Draw) -> BatchLogps:
        """Returns log-probabilities under the policy as :meth:`set_previous` kept it."""
        assert self._previous is not None, "set_previous was not called"
        return self._frozen_logps(encoded, draw, self._previous)

    def compare_parts(self, encoded: EncodedCandidates, draw: Draw) -> tuple[BatchLogps, BatchLogps]:
        """Returns log-probabilities under policy and reference at each position. Their divergence is half the squared
        difference of the two predictions: the Gaussian KL of a step, in the units of ``logp = -e / 2``.

        Raises:
            ConfigError: The reference is stored, as one error per candidate: its prediction is needed.
        """
        if self._errors is not None:
            instead = "adapter_off" if self._config.adapter is not None else "copy"
            raise ConfigError(
                "this loss compares predictions at every position, but of a reference that is 'stored' only errors are "
                f"kept. Type: --set model.reference={instead}"
            )
        inputs = self.inputs(encoded, draw)
        self.forward_counts.reference += len(inputs.t)
        self.forward_counts.add_policy(len(inputs.t))
        arguments = inputs.x_t, inputs.time, inputs.conditioning, self.dtype
        with (
            torch.no_grad(),
            without_cast_cache(self.device),
            self.reference.network() as network,
            middle_block_outputs(network, self._config.masks) as activations,
        ):
            reference_output = self._family.call(network, *arguments)
        output = self._family.call(self._module(), *arguments)
        mirrored = self.denoiser.mirrored(encoded, self._visits.cycle(draw))
        divergences = self.denoiser.part_errors(output, reference_output, mirrored, inputs.frame_weights)
        masks = position_masks(encoded.regions, activations, output.shape[2:], mirrored)
        policy, reference = (self._part_logps(out, inputs, mirrored) for out in (output, reference_output))
        candidates = tuple(
            replace(candidate, divergence=divergence, masks=None if masks is None else masks[:, i])
            for i, (candidate, divergence) in enumerate(zip(policy.candidates, divergences, strict=True))
        )
        return BatchLogps(candidates, {**policy.info, **part_diagnostics(candidates)}), reference

    @torch.no_grad()
    def prepare(
        self,
        pairs: Sequence[Pair],
        plan: Plan,
        seed: int,
        batch: int,
        progress: Progress,
        processes: Processes = ALONE,
    ) -> int:
        """Computes and stores the reference's errors and latents at planned visits, as far as they are to be stored and
        not there yet; of several processes each its share. Returns the number of visits that it computed.
        """
        errors, latents = self._errors, self._noisy_inputs.stored
        missing_errors = self._visits.missing(errors, pairs, plan, seed)
        missing_latents = self._visits.missing(latents, pairs, plan, seed)
        missing = {**missing_errors, **missing_latents}
        processes.wait()  # before a share is stored, all list the same
        visits = processes.blocks(list(missing.items()), batch)
        task = "reference errors" if latents is None else "invert latents"
        with _writer(errors) as errors_out, _writer(latents) as latents_out:

            def compute(part: list[tuple[str, tuple[int, int]]]) -> list[str]:
                for keys, encoded, draw in self._of_one_size(*self._visits.batch(part, pairs, seed)):
                    if latents is not None and latents_out is not None and any(key in missing_latents for key in keys):
                        latents.check_space(len(missing_latents), encoded.mean[0, :, 0].numel())
                        latents.write(latents_out, keys, *self._noisy_inputs.build(encoded, draw, keys).latents)
                    if errors is not None and errors_out is not None:
                        logps = self._frozen_logps(encoded, draw, self.reference)
                        errors.write(errors_out, keys, [-2.0 * candidate.logps for candidate in logps.candidates])
                return [key for key, _ in part]

            pieces = Pieces("the reference's numbers are computed", batch)
            for done, _ in enumerate(pieces.each(visits, compute), 1):
                progress(task, done, len(visits))
        return len(visits)

    @torch.no_grad()
    def refresh_latents(
        self, pairs: Sequence[Pair], plan: Plan, seed: int, folder: Path, number: int, batch: int, progress: Progress
    ) -> int:
        """Inverts planned visits with the policy as it is and keeps the latents as window ``number``, where they are
        looked up from now on. To continue after a kill, call it again with the same weights. Returns the number of
        visits that it computed.
        """
        window = StoredLatents(TensorCache(folder, f"window-{number}-{self._fingerprint}"))
        self._noisy_inputs.window = None
        missing = self._visits.missing(window, pairs, plan, seed)
        with window.cache.writer() as out:

            def compute(part: list[tuple[str, tuple[int, int]]]) -> list[str]:
                for keys, encoded, draw in self._of_one_size(*self._visits.batch(part, pairs, seed)):
                    window.check_space(len(missing), encoded.mean[0, :, 0].numel())
                    window.write(out, keys, *self._noisy_inputs.build(encoded, draw, keys).latents)
                return [key for key, _ in part]

            pieces = Pieces("latents are inverted", batch)
            for done, _ in enumerate(pieces.each(missing.items(), compute), 1):
                progress(f"invert latents (window {number})", done, len(missing))
        self._noisy_inputs.window = window
        return len(missing)

    def set_reference(self, state: Mapping[str, Tensor] | None) -> None:
        """Makes the network with these trainable tensors the reference from now on; None: the initial one again."""
        for stored, reason, instead in (
            (self._errors, "reference is 'stored'", "model.reference=copy"),
            (self._noisy_inputs.stored, "latents.store keeps the latents of one reference", "latents.store=false"),
        ):
            if stored is not None:
                raise ConfigError(f"the reference changes while training, but {reason}. Type: --set {instead}")
        self.reference_kind, self.reference = self._initial
        if state is not None:
            self.reference_kind = "earlier"
            self.reference = EarlierCheckpoint(unwrap(self._module()), self._trainable, state)
        self._reference_changes += 1

    def set_previous(self, state: Mapping[str, Tensor]) -> None:
        """Keeps the network with these trainable tensors in addition to the reference."""
        self._previous = EarlierCheckpoint(unwrap(self._module()), self._trainable, state)

    @contextmanager
    def base(self) -> Iterator[nn.Module]:
        """Yields the network that the policy started from, also where the reference is another one by now or only a
        table of errors; loads it where nothing else holds its weights.
        """
        with base_network(self._config, unwrap(self._module()), self.reference, self._load_base) as network:
            yield network

    def inputs(self, encoded: EncodedCandidates, draw: Draw) -> DenoiserInputs:
        """Returns the inputs of a batch, the same for policy and reference."""
        draw = self._visits.cycle(draw)
        return self._noisy_inputs.build(encoded, draw, self._visits.keys(encoded, draw))

    def _of_one_size(
        self, keys: Sequence[str], pairs: Sequence[Pair], draw: Draw
    ) -> Iterator[tuple[list[str], EncodedCandidates, Draw]]:
        """Yields the visits of each size with their tensors."""
        for rows in self._groups(pairs):
            yield [keys[row] for row in rows], self._encode([pairs[row] for row in rows]), rows_of(draw, rows)

    def _frozen_logps(self, encoded: EncodedCandidates, draw: Draw, frozen: Reference) -> BatchLogps:
        inputs = self.inputs(encoded, draw)
        self.forward_counts.reference += len(inputs.t)
        with without_cast_cache(self.device), frozen.network() as network:
            output = self._family.call(network, inputs.x_t, inputs.time, inputs.conditioning, self.dtype)
            return self.denoiser.logps(output, inputs)

    def _part_logps(self, output: Tensor, inputs: DenoiserInputs, mirrored: Sequence[Tensor | None]) -> BatchLogps:
        logps = self.denoiser.logps(output, inputs)
        errors = self.denoiser.part_errors(output, inputs.target, mirrored, inputs.frame_weights)
        parts = (replace(c, parts=-half) for c, half in zip(logps.candidates, errors, strict=True))
        return replace(logps, candidates=tuple(parts))

    def _make_noisy_inputs(self) -> NoisyInputs:
        latents = self._config.latents
        stored = StoredLatents(self._cache("latents")) if latents.store else None
        if latents.inverter == "reference":
            inverter = self._without_gradient(lambda: self.reference.network())
            return NoisyInputs(self.denoiser, inverter, lambda: self._reference_changes, stored)
        inverter = self._without_gradient(lambda: nullcontext(unwrap(self._module())))
        return NoisyInputs(self.denoiser, inverter, WriteCounter(self._trainable.values()), stored)

    def _without_gradient(
        self, network: Callable[[], AbstractContextManager[nn.Module]], purpose: str = "inversion"
    ) -> NetworkCall:
        """Returns calls of a network without a gradient and with float32 outputs, counted under their purpose."""

        def call(x_t: Tensor, time: Tensor, conditioning: Mapping[str, Tensor]) -> Tensor:
            self.forward_counts.add(purpose, len(x_t))
            with torch.no_grad(), without_cast_cache(x_t.device), network() as module:
                return self._family.call(module, x_t, time, conditioning, self.dtype).float()

        return call

    def _cache(self, kind: str) -> TensorCache:
        return TensorCache(self._config.cache_folder(), f"{kind}-{self._fingerprint}")


def _writer(store: StoredErrors | StoredLatents | None) -> AbstractContextManager[Writer | None]:
    return nullcontext() if store is None else store.cache.writer()
