"""Judging: a denoiser beside its reference, live or looked up; images and clips share this part of the seam."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from diffalign.data.records.pair import Pair
from diffalign.data.storage.tensor_cache import TensorCache
from diffalign.errors import ConfigError
from diffalign.policies.diffusion.config import ModelConfig
from diffalign.policies.diffusion.scoring.denoiser import Denoiser, EncodedImages, call_denoiser, logps_of_errors
from diffalign.policies.diffusion.scoring.forward_counts import ForwardCounts
from diffalign.policies.diffusion.scoring.noisy_inputs import NoisyInputs, predict_with
from diffalign.policies.diffusion.scoring.position_masks import features, position_masks
from diffalign.policies.diffusion.scoring.stored_scores import StoredErrors, StoredLatents, draw_key
from diffalign.policies.module_utils import WriteCounter, mixed_precision, unwrap, without_cast_cache
from diffalign.policies.part_diagnostics import part_diagnostics
from diffalign.policies.policy import BatchLogps, Plan, Progress
from diffalign.policies.references import EarlierCheckpoint, Reference, base_network, choose_reference
from diffalign.policies.second_adapter import SecondAdapter
from diffalign.randomness import Draw


class PolicyAndReference:
    """Scores candidates under policy and reference.

    Args:
        module: Returns the policy's network as it is now, distributed wrappers included.
        trainable: The parameters that train.
        denoiser: The rules.
        config: The model's section of the recipe.
        encode: Turns pairs into tensors on the device.
        pair_key: Identity of everything that a pair's tensors are made from.
        fingerprint: Identity of weights and rules, for what is kept on disk.
        load: Loads the base network once more, frozen.
    """

    def __init__(
        self,
        module: Callable[[], nn.Module],
        trainable: Mapping[str, nn.Parameter],
        denoiser: Denoiser,
        config: ModelConfig,
        encode: Callable[[Sequence[Pair]], EncodedImages],
        pair_key: Callable[[Pair], str],
        fingerprint: str,
        load: Callable[[], nn.Module],
    ) -> None:
        self.denoiser = denoiser
        self.forward_counts = ForwardCounts()
        self._module, self._trainable, self._config = module, dict(trainable), config
        self._encode, self._pair_key, self._fingerprint = encode, pair_key, fingerprint
        network = unwrap(module())
        self.device: torch.device = next(network.parameters()).device
        self.dtype = getattr(torch, config.dtype) if config.adapter is not None else torch.float32
        self.reference: Reference
        self._previous: EarlierCheckpoint | None = None
        self.reference_kind, self.reference = choose_reference(config, network, self.device, load)
        self._load = load
        self._references = 1
        self._errors = StoredErrors(self._cache("errors")) if self.reference_kind == "stored" else None
        self._inputs = self._noisy_inputs()

    def policy_logps(self, encoded: EncodedImages, draw: Draw) -> BatchLogps:
        """Scores under the policy, with gradient."""
        draw = self._folded(draw)
        inputs = self._inputs(encoded, draw, self._keys(encoded, draw))
        self.forward_counts.policy += len(inputs.t)
        return self.denoiser.logps(self._call(self._module(), inputs.x_t, inputs.t, inputs.conditioning), inputs)

    @torch.no_grad()
    def reference_logps(self, encoded: EncodedImages, draw: Draw) -> BatchLogps:
        """Scores under the reference: looked up where they are stored, else computed."""
        draw = self._folded(draw)
        if self._errors is not None:
            found = self._errors.get(self._keys(encoded, draw), self.device)
            if found is not None:
                return logps_of_errors(*found)
        return self._reference_live(encoded, draw)

    def compare_parts(self, encoded: EncodedImages, draw: Draw) -> tuple[BatchLogps, BatchLogps]:
        """Scores under policy and reference, position by position, with half the squared difference of the two
        predictions as their divergence: the Gaussian KL of a step, in the units in which ``logp = -e / 2``.

        Raises:
            ConfigError: The reference is stored, as one error per candidate: its prediction is needed.
        """
        if self._errors is not None:
            instead = "adapter_off" if self._config.adapter is not None else "copy"
            raise ConfigError(
                "this loss compares predictions at every position, but of a reference that is 'stored' only errors are "
                f"kept. Type: --set model.reference={instead}"
            )
        draw = self._folded(draw)
        inputs = self._inputs(encoded, draw, self._keys(encoded, draw))
        self.forward_counts.reference += len(inputs.t)
        self.forward_counts.policy += len(inputs.t)
        asked = inputs.x_t, inputs.t, inputs.conditioning
        with (
            torch.no_grad(),
            without_cast_cache(self.device),
            self.reference.network() as network,
            features(network, self._config.masks) as seen,
        ):
            other = self._call(network, *asked)
        output = self._call(self._module(), *asked)
        mirrored = self.denoiser.mirrored(encoded, draw)
        gaps = self.denoiser.part_errors(output, other, mirrored)
        masks = position_masks(encoded.regions, seen, output.shape[2:], mirrored)
        sides = []
        for said in (output, other):
            scores, errors = self.denoiser.logps(said, inputs), self.denoiser.part_errors(said, inputs.target, mirrored)
            parts = (replace(s, parts=-half) for s, half in zip(scores.candidates, errors, strict=True))
            sides.append(replace(scores, candidates=tuple(parts)))
        policy, reference = sides
        found = tuple(
            replace(s, divergence=gap, masks=None if masks is None else masks[:, i])
            for i, (s, gap) in enumerate(zip(policy.candidates, gaps, strict=True))
        )
        return BatchLogps(found, {**policy.info, **part_diagnostics(found)}), reference

    @torch.no_grad()
    def prepare(self, pairs: Sequence[Pair], plan: Plan, seed: int, batch: int, progress: Progress) -> int:
        """Computes and stores what the reference says (errors) or finds (latents) at planned visits, as far as these
        are to be stored and are not there yet; returns at how many."""
        errors, latents = self._errors, self._inputs.stored
        unsaid = self._missing(errors, pairs, plan, seed) if errors is not None else {}
        unfound = self._missing(latents, pairs, plan, seed) if latents is not None else {}
        todo = {**unsaid, **unfound}
        with _writer(errors) as errors_out, _writer(latents) as latents_out:
            for keys, encoded, draw, done in self._visits(todo, pairs, seed, batch):
                if latents is not None and any(key in unfound for key in keys):
                    latents.check_room(len(unfound), encoded.mean[0, :, 0].numel())
                    latents.write(latents_out, keys, *self._inputs(encoded, draw, keys).latents)
                if errors is not None:
                    errors.write(
                        errors_out, keys, [-2.0 * s.logps for s in self._reference_live(encoded, draw).candidates]
                    )
                progress("reference errors" if latents is None else "invert latents", done, len(todo))
        return len(todo)

    @torch.no_grad()
    def refresh(
        self, pairs: Sequence[Pair], plan: Plan, seed: int, folder: Path, number: int, batch: int, progress: Progress
    ) -> int:
        """Inverts planned visits with the policy as it is into the window ``number``; from now on they are looked up
        there. A killed call goes on: call it again with the same weights. Returns how many were left to do."""
        window = StoredLatents(TensorCache(folder, f"window-{number}-{self._fingerprint}"))
        self._inputs.window = None
        todo = self._missing(window, pairs, plan, seed)
        with window.cache.writer() as out:
            for keys, encoded, draw, done in self._visits(todo, pairs, seed, batch):
                window.check_room(len(todo), encoded.mean[0, :, 0].numel())
                window.write(out, keys, *self._inputs(encoded, draw, keys).latents)
                progress(f"invert latents (window {number})", done, len(todo))
        self._inputs.window = window
        return len(todo)

    def set_reference(self, state: Mapping[str, Tensor]) -> None:
        """The reference is the network with these trainable tensors from now on."""
        for stored, what, instead in (
            (self._errors, "reference is 'stored'", "model.reference=copy"),
            (self._inputs.stored, "latents.store keeps what one reference found", "latents.store=false"),
        ):
            if stored is not None:
                raise ConfigError(f"the reference changes while training, but {what}. Type: --set {instead}")
        self.reference_kind, self.reference = (
            "earlier",
            EarlierCheckpoint(unwrap(self._module()), self._trainable, state),
        )
        self._references += 1

    def second_adapter_logps(self, encoded: EncodedImages, draw: Draw, second: SecondAdapter) -> BatchLogps:
        """Scores under a second set of weights, with gradient."""
        draw = self._folded(draw)
        inputs = self._inputs(encoded, draw, self._keys(encoded, draw))
        self.forward_counts.policy += len(inputs.t)
        network: Any = second.network(unwrap(self._module()))
        return self.denoiser.logps(self._call(network, inputs.x_t, inputs.t, inputs.conditioning), inputs)

    def set_previous(self, state: Mapping[str, Tensor]) -> None:
        """Keeps the network with these trainable tensors beside the reference."""
        self._previous = EarlierCheckpoint(unwrap(self._module()), self._trainable, state)

    @torch.no_grad()
    def previous_logps(self, encoded: EncodedImages, draw: Draw) -> BatchLogps:
        """Scores under the policy as it was held."""
        assert self._previous is not None, "nothing was held"
        return self._reference_live(encoded, self._folded(draw), self._previous)

    @contextmanager
    def base(self) -> Iterator[nn.Module]:
        """The network that the policy started from, also where the reference is another one by now or only a table of
        errors; loaded for the occasion where nothing else holds its weights."""
        with base_network(self._config, unwrap(self._module()), self.reference, self._load) as network:
            yield network

    def _noisy_inputs(self) -> NoisyInputs:
        choice = self._config.latents
        if choice.inverter == "reference":
            lend: Any = lambda: self.reference.network()
            version: Callable[[], int] = lambda: self._references
        else:
            lend = lambda: nullcontext(unwrap(self._module()))
            version = WriteCounter(self._trainable.values())
        stored = StoredLatents(self._cache("latents")) if choice.store else None
        return NoisyInputs(self.denoiser, predict_with(lend, self._call, self._count_inversions), version, stored)

    def _reference_live(self, encoded: EncodedImages, draw: Draw, reference: Reference | None = None) -> BatchLogps:
        inputs = self._inputs(encoded, draw, self._keys(encoded, draw))
        self.forward_counts.reference += len(inputs.t)
        with without_cast_cache(self.device), (reference or self.reference).network() as network:
            return self.denoiser.logps(self._call(network, inputs.x_t, inputs.t, inputs.conditioning), inputs)

    def _call(self, network: nn.Module, x_t: Tensor, t: Tensor, conditioning: Mapping[str, Tensor]) -> Tensor:
        return call_denoiser(network, x_t, t, conditioning, self.dtype)

    def _count_inversions(self, rows: int) -> None:
        self.forward_counts.inversion += rows

    def _cache(self, what: str) -> TensorCache:
        return TensorCache(self._config.cache_folder(), f"{what}-{self._fingerprint}")

    def _folded(self, draw: Draw) -> Draw:
        return Draw(draw.seed, draw.ids, tuple(self._visit(visit) for visit in draw.visits))

    def _visit(self, visit: int) -> int:
        """Visits return to their first draws after ``draws`` of them; looks at held-out pairs (below 0) stay."""
        return visit if self._config.draws is None or visit < 0 else visit % self._config.draws

    def _missing(self, store: Any, pairs: Sequence[Pair], plan: Plan, seed: int) -> dict[str, tuple[int, int]]:
        """``{key: (index, visit)}`` of planned visits that a store lacks."""
        visits = [(index, self._visit(visit)) for index, visit in plan]
        keys = {self._key(seed, visit, self._pair_key(pairs[index])): (index, visit) for index, visit in visits}
        return {key: keys[key] for key in store.missing(list(keys))}

    def _visits(
        self, todo: Mapping[str, tuple[int, int]], pairs: Sequence[Pair], seed: int, batch: int
    ) -> Iterator[tuple[list[str], EncodedImages, Draw, int]]:
        """Batches of visits: keys, encoded pairs, draw, and how many have been given so far."""
        visits = list(todo.items())
        for start in range(0, len(visits), batch):
            part = visits[start : start + batch]
            met = [pairs[index] for _, (index, _) in part]
            draw = Draw(seed, tuple(pair.id for pair in met), tuple(visit for _, (_, visit) in part))
            yield [key for key, _ in part], self._encode(met), draw, start + len(part)

    def _key(self, seed: int, visit: int, pair_key: str) -> str:
        return draw_key(seed, visit, pair_key, str(mixed_precision(self.device)))

    def _keys(self, encoded: EncodedImages, draw: Draw) -> list[str]:
        return [self._key(draw.seed, visit, key) for key, visit in zip(encoded.keys, draw.visits, strict=True)]


def _writer(store: StoredErrors | StoredLatents | None) -> Any:
    return nullcontext() if store is None else store.cache.writer()
