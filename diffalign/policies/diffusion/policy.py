"""The policy of images and clips: a diffusers denoiser with its reference, encoders and sampler."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from diffalign.data.records.conversation import Text, plain_text
from diffalign.data.records.frame_weights import are_equal, check_frame_weights, scaled_to_mean_one
from diffalign.data.records.pair import Media, Pair
from diffalign.data.storage.cached_candidate import CachedCandidate
from diffalign.data.storage.kept_latents import KeptLatent, LatentSpace
from diffalign.data.storage.tensor_cache import TensorCache, content_key
from diffalign.devices.block_offload import OFFLOAD_NOTE
from diffalign.devices.device_memory import format_bytes, module_bytes
from diffalign.devices.processes import Processes
from diffalign.devices.quantized_linear import describe_packed
from diffalign.devices.residency import ENCODERS, Part, Residency
from diffalign.errors import ConfigError
from diffalign.latents import LATENTS
from diffalign.named_choice import Choice, bind_name
from diffalign.policies.diffusion.config import ModelConfig
from diffalign.policies.diffusion.describe import describe_clips, describe_trained
from diffalign.policies.diffusion.encoding.check_directions import check_directions
from diffalign.policies.diffusion.encoding.check_kept_latents import check_kept_latents
from diffalign.policies.diffusion.encoding.encode import CachedEncoder
from diffalign.policies.diffusion.encoding.frozen_components import FrozenComponents
from diffalign.policies.diffusion.encoding.pair_sizes import PairSizes
from diffalign.policies.diffusion.noise_probe import NoiseProbe
from diffalign.policies.diffusion.sampling.candidates import make_candidates, store_roundtrip
from diffalign.policies.diffusion.sampling.decode import decode_candidates, decode_samples, latents_of
from diffalign.policies.diffusion.sampling.sample import sample
from diffalign.policies.diffusion.saving import save_denoiser, write_denoiser_card
from diffalign.policies.diffusion.scoring.batch import candidates_of, encode_candidates
from diffalign.policies.diffusion.scoring.by_size import Encoded, EncodedBySize, only, score
from diffalign.policies.diffusion.scoring.denoiser_scoring import Denoiser, EncodedCandidates
from diffalign.policies.diffusion.scoring.forward_counts import ForwardCounts
from diffalign.policies.diffusion.scoring.policy_and_reference import PolicyAndReference
from diffalign.policies.diffusion.scoring.position_masks import check_masks
from diffalign.policies.diffusion.scoring.trial_inputs import trial_inputs
from diffalign.policies.diffusion.trial_stages import encode_stage, sample_stage
from diffalign.policies.diffusion.video_config import VideoModelConfig
from diffalign.policies.latent_noise import LatentNoise
from diffalign.policies.module_utils import unwrap, weights_digest
from diffalign.policies.movable_parts import MovableReference, movable_network
from diffalign.policies.policy import BatchLogps, Card, Plan, Progress, TrialStage, no_progress
from diffalign.policies.second_adapter import SecondAdapter
from diffalign.policies.trainable import Trainable
from diffalign.randomness import Draw
from diffalign.sharing.public_name import public_name
from diffalign.sharing.read_adapter import load_into
from diffalign.sharing.shared_adapter import SharedAdapter


class DenoiserPolicy:
    """Implements :class:`~diffalign.policies.policy.Policy` for images and clips. Built by `load.load_policy`.

    Args:
        module: The denoiser, its adapter added (or all its weights in float32), in host memory or on the device.
        frozen: Autoencoder, text encoders, scheduler.
        denoiser: The rules of scoring.
        config: The model's section of the recipe.
        resolution: Side of the images or clips, px.
        sizes: The size of each pair.
        load_base: Loads the denoiser once more, frozen.
        base_fingerprint: Hash of the base weights as they are in their files; None: those of the module.
    """

    eval_draws = 4
    """Number of noise draws averaged per held-out pair."""

    def __init__(
        self,
        module: nn.Module,
        frozen: FrozenComponents,
        denoiser: Denoiser,
        config: ModelConfig,
        resolution: int,
        sizes: PairSizes,
        load_base: Callable[[], nn.Module],
        base_fingerprint: str | None = None,
    ) -> None:
        self.module = module
        self.config = config
        self.resolution = resolution
        self.medium = frozen.family.medium
        self.clip = config.clip if isinstance(config, VideoModelConfig) else None
        self.device: torch.device = frozen.device
        self.base_fingerprint = base_fingerprint or weights_digest([module])
        self._frozen = frozen
        self._denoiser = denoiser
        self.sizes = sizes
        self._encoder = CachedEncoder(frozen, config, resolution, sizes)
        self._trainable = Trainable(module)
        self._policy_and_reference = PolicyAndReference(
            lambda: self.module,
            self._trainable.parameters,
            frozen.family,
            denoiser,
            config,
            self._encode_one_size,
            sizes.groups,
            self._pair_key,
            self.fingerprint(),
            load_base,
            self.device,
        )
        parts: dict[str, Part] = {
            "network": movable_network(module, self._trainable, self.device),
            "reference": MovableReference(lambda: self._policy_and_reference.reference),
            **dict.fromkeys(ENCODERS, frozen),
        }
        self.residency = Residency(self.device, parts, together=not config.use_cache)
        self._probe = NoiseProbe(self._policy_and_reference, self._encode_one_size, sizes.groups)

    @property
    def forward_counts(self) -> ForwardCounts:
        """Numbers of forward passes so far, by purpose."""
        return self._policy_and_reference.forward_counts

    @property
    def reference_kind(self) -> str:
        """Kind of the reference: ``"adapter_off"``, ``"copy"``, ``"stored"`` or ``"earlier"``."""
        return self._policy_and_reference.reference_kind

    @property
    def latent_elements(self) -> int:
        """Number of elements of a latent: the factor between a mean and a sum of squared errors."""
        return math.prod(self.latent_shape)

    @property
    def latent_shape(self) -> tuple[int, ...]:
        """``(C, h, w)`` of an image's latent, ``(C, F, h, w)`` of a clip's."""
        side = self.resolution // self._frozen.pixels_per_latent
        frames = () if self.clip is None else (self.clip.frames,)
        return self._frozen.latent_channels, *frames, side, side

    def describe(self) -> dict[str, str]:
        """Returns model, clips, trained weights, reference, resolution and cache, each as one line."""
        total = sum(parameter.numel() for parameter in unwrap(self.module).parameters())
        adapter = self.config.adapter
        reference = self._policy_and_reference.reference.describe()
        if self.reference_kind == "stored" and adapter is not None:
            reference = "stored errors (no memory, no time for planned visits; others with the adapter switched off)"
        return {
            "model": f"{self.config.path} ({format_bytes(module_bytes(unwrap(self.module)))} of weights)",
            **describe_clips(self.config, self._frozen, self.latent_elements),
            "trains": describe_trained(self.config, self._frozen.family),
            **({} if self.config.quantize is None else {"base": describe_packed(self.config.quantize)}),
            **({} if self.config.offload is None else {"offload": OFFLOAD_NOTE}),
            "parameters": f"{self._trainable.count:,} trainable of {total:,}",
            "reference": reference,
            "resolution": self.sizes.describe(),
            "cache": f"{self.config.cache_folder()}" if self.config.use_cache else "off: encoders run at every step",
        }

    def fingerprint(self) -> str:
        """Returns the identity of the base weights, the encoders, and the rules by which pairs are scored."""
        c, d = self.config, self._denoiser
        estimate = f"{d.estimate.identity} {c.latents.inverter}"
        rules = (c.dtype, c.flip, c.reduction, str(c.timesteps), estimate, c.size_ids, d.caption_dropout)
        levels = d.schedule.alphas_cumprod.numpy().tobytes()
        makers = (self._encoder.image_maker, self._encoder.text_maker)
        packed = [] if c.quantize is None else [f"quantize {c.quantize}"]
        layout = ["channels_last"] if c.channels_last else []
        times = ["time 1000 r"] if d.schedule.prediction == "flow" else []  # older results had the level's index
        return content_key(
            self.base_fingerprint, *makers, *rules, d.schedule.prediction, levels, *times, *packed, *layout
        )

    def prepare(self, pairs: Sequence[Pair], progress: Progress = no_progress) -> list[str]:
        """Encodes every image or clip and every prompt once and sends the encoders away; without a cache they stay."""
        self._check(pairs)
        self._encoder.prepare(pairs, progress)
        if self.config.use_cache:
            self._frozen.send_away()
        return [] if self.config.buckets is None else [f"buckets: {self.sizes.fit(pairs).summary()}"]

    def prepare_share(self, pairs: Sequence[Pair], processes: Processes, progress: Progress) -> None:
        """Encodes this process's share of the images or clips and prompts."""
        self._check(pairs)
        self._encoder.prepare(pairs, progress, processes)

    def _check(self, pairs: Sequence[Pair]) -> None:
        if self.config.masks is not None:
            check_masks(self.config.masks, pairs)
        if self.clip is not None:
            check_directions(pairs, self.config.flip)
        self.check_kept_latents(pairs)
        check_frame_weights(pairs, None if self.clip is None else self.clip.frames)

    def show(self, pair: Pair) -> str:
        """Returns a pair's prompt and the names of its candidates."""
        return f"{pair.source or pair.id}: {str(pair.prompt)!r}, " + " better than ".join(
            map(_shown, candidates_of(pair))
        )

    def microbatch_order(self, pairs: Sequence[Pair]) -> list[int]:
        """Returns an order in which pairs of one size are neighbours; pairs of one size stay as they are."""
        return [index for group in self.sizes.groups(pairs) for index in group]

    def encode(self, pairs: Sequence[Pair], prompts: bool = False) -> Encoded:
        """Returns posterior parameters and conditioning of a batch, on the device, where the network is from now on.
        ``prompts`` changes nothing: a denoiser gives prompts no probability.
        """
        groups = self.sizes.groups(pairs)
        if len(groups) == 1:
            return self._encode_one_size(pairs)
        parts = tuple(self._encode_one_size([pairs[row] for row in group]) for group in groups)
        return EncodedBySize(tuple(map(tuple, groups)), parts)

    def _encode_one_size(self, pairs: Sequence[Pair]) -> EncodedCandidates:
        self.residency.bring("network")
        keys = tuple(self._pair_key(pair) for pair in pairs)
        return encode_candidates(pairs, keys, self._encoder, self.config.masks, self.resolution, self.device)

    def logps(self, encoded: Encoded, draw: Draw) -> BatchLogps:
        """Returns log-probabilities under the policy, with gradient."""
        if isinstance(encoded, EncodedBySize):
            return score(self._policy_and_reference.policy_logps, encoded, draw)
        return self._policy_and_reference.policy_logps(encoded, draw)

    def trial_forward(self, pairs: Sequence[Pair], needs: Collection[str]) -> Callable[[nn.Module], Tensor]:
        """Returns a function that scores zeros in the shapes of a batch with a network; ``needs`` changes nothing."""
        candidates = max(len(candidates_of(pair)) for pair in pairs)
        shapes = self.resolution, self.latent_shape, len(pairs), candidates
        inputs = trial_inputs(self._frozen, self._denoiser.schedule, *shapes)

        def forward(network: nn.Module) -> Tensor:
            arguments = inputs.x_t, inputs.time, inputs.conditioning, self._policy_and_reference.dtype
            scored = self._denoiser.logps(self._frozen.family.call(network, *arguments), inputs)
            return torch.stack([candidate.logps for candidate in scored.candidates]).sum()

        return forward

    def parts(self) -> Mapping[str, Sequence[nn.Module]]:
        """Returns the denoiser, the text encoders and the autoencoder."""
        pipeline = self._frozen.pipeline()
        encoders = self._frozen.prompt_encoder().modules
        return {"network": [unwrap(self.module)], "text encoders": encoders, "autoencoder": [pipeline.vae]}

    @property
    def reference_bytes(self) -> int:
        """Bytes of a reference that is kept beside the network."""
        return self._policy_and_reference.reference.kept_bytes

    def trial_stages(self, prompts: Sequence[Text], settings: Mapping[str, Any]) -> Mapping[str, TrialStage]:
        """Returns encoding, and sampling where there are prompts."""
        frames = None if self.clip is None else self.clip.frames
        stages = {"encode": encode_stage(self._frozen, self.config, self.resolution, frames)}
        if prompts:
            place = self._frozen, self._denoiser, self.module, self.resolution, self.latent_shape
            stages["sample"] = sample_stage(*place, len(prompts), settings)
        return stages

    def cached_bytes(self, pairs: Sequence[Pair]) -> int:
        """Returns the bytes of the moments of all candidates and the states of all prompts, each counted as new."""
        if not self.config.use_cache:
            return 0
        views = 1 if self.config.flip == "none" else 2
        moments = 2 * views * self.latent_elements * self._kept_dtype.itemsize
        candidates = sum(len(candidates_of(pair)) for pair in pairs)
        prompts = len({str(pair.prompt) for pair in pairs})
        states = sum(value.numel() * value.element_size() for value in self._frozen.empty_prompt().values())
        return candidates * moments + prompts * states

    def reference_logps(self, encoded: Encoded, draw: Draw) -> BatchLogps:
        """Returns log-probabilities under the reference: looked up where they are stored, otherwise computed."""
        return score(self._policy_and_reference.reference_logps, encoded, draw)

    def compare_parts(self, encoded: Encoded, draw: Draw) -> tuple[BatchLogps, BatchLogps]:
        """Returns log-probabilities under policy and reference, and their divergence at each position."""
        return self._policy_and_reference.compare_parts(only(encoded), draw)

    def prepare_reference(
        self,
        pairs: Sequence[Pair],
        plan: Plan,
        seed: int,
        batch: int = 8,
        progress: Progress = no_progress,
        prompts: bool = False,
    ) -> int:
        """Computes and stores the reference's results at planned visits: its errors where it is stored, its latents
        where they are; does nothing where neither is.

        Call it within the same autocast as training, before the first step, and after a resume before the policy's
        weights are put back. Results of an earlier call or an earlier run are not computed again.

        Args:
            plan: ``(index into pairs, visit)`` of every planned visit.
            batch: Pairs at a time.
            progress: Called after each batch.
            prompts: Changes nothing, as for :meth:`encode`.

        Returns:
            The number of visits that it computed.
        """
        return self._policy_and_reference.prepare(pairs, plan, seed, batch, progress)

    def prepare_reference_share(
        self,
        pairs: Sequence[Pair],
        plan: Plan,
        seed: int,
        processes: Processes,
        batch: int = 8,
        progress: Progress = no_progress,
        prompts: bool = False,
    ) -> None:
        """Computes and stores this process's share of what :meth:`prepare_reference` does."""
        self._policy_and_reference.prepare(pairs, plan, seed, batch, progress, processes)

    @property
    def latents_refresh_every(self) -> int:
        """Optimizer steps for which the policy's latents are kept; 0: they are not."""
        return self.config.latents.refresh

    def refresh_latents(
        self,
        pairs: Sequence[Pair],
        plan: Plan,
        seed: int,
        folder: Path,
        number: int,
        batch: int = 8,
        progress: Progress = no_progress,
    ) -> int:
        """Computes the latents of all visits of window ``number`` with the policy as it is, and keeps them in
        ``folder``; otherwise as :meth:`prepare_reference`. After a kill, call it again with the same weights.
        """
        return self._policy_and_reference.refresh_latents(pairs, plan, seed, folder, number, batch, progress)

    @property
    def inverts(self) -> bool:
        """Whether candidates are scored at latents that a network finds."""
        return self._denoiser.estimate.needs_network

    def latent_noise(self, pairs: Sequence[Pair], latents: Choice | None = None, batch: int = 8) -> LatentNoise:
        """Returns the noise that the latents of a few pairs hold; see `noise_probe`."""
        estimate = None
        if latents is not None:
            estimate = LATENTS[bind_name("latents", latents.name, LATENTS)].bind(**latents.hyper)
        return self._probe.latent_noise(pairs, estimate, batch)

    def forward_errors(self, pairs: Sequence[Pair], batch: int = 8) -> list[float]:
        """Returns the errors at forward latents of a few pairs; see `noise_probe`."""
        return self._probe.forward_errors(pairs, batch)

    def set_reference(self, state: Mapping[str, Tensor] | None) -> None:
        """Makes the network with these trainable tensors the reference from now on; None: the initial one again. Raises
        ConfigError where its errors or latents are stored: they belong to one model.
        """
        self._policy_and_reference.set_reference(state)

    def set_previous(self, state: Mapping[str, Tensor]) -> None:
        """Keeps the network with these trainable tensors for losses that read an earlier policy."""
        self._policy_and_reference.set_previous(state)

    def previous_logps(self, encoded: Encoded, draw: Draw) -> BatchLogps:
        """Returns log-probabilities under the policy that :meth:`set_previous` kept, without gradient."""
        return score(self._policy_and_reference.previous_logps, encoded, draw)

    def add_second_adapter(self) -> SecondAdapter:
        """Adds a second adapter, which trains together with the first; see `second_adapter`."""
        return self._trainable.add_second_adapter(self.config)

    def second_adapter_logps(self, encoded: Encoded, draw: Draw) -> BatchLogps:
        """Returns log-probabilities under the second adapter, with gradient."""
        assert self._trainable.second is not None, "there is no second adapter"
        return score(partial(self._policy_and_reference.policy_logps, second=self._trainable.second), encoded, draw)

    def make_candidates(
        self,
        prompts: Sequence[Text],
        seeds: Sequence[int],
        store: TensorCache,
        keys: Sequence[str],
        *,
        reference: bool = False,
        **settings: Any,
    ) -> list[Media]:
        """Samples one candidate per prompt and seed, kept in ``store`` under their keys; see `candidates`."""
        self.residency.bring("network")
        settings |= {"resolution": self.resolution, "count": self.forward_counts, **self._length}
        kept: dict[str, Any] = {"mirrored": self.config.flip != "none", "dtype": self._kept_dtype}
        with (
            self._policy_and_reference.reference.network() if reference else nullcontext(unwrap(self.module)) as network
        ):
            texts = [plain_text(prompt) for prompt in prompts]
            return make_candidates(self._frozen, network, texts, seeds, store, keys, **kept, **settings)

    def show_candidates(self, candidates: Sequence[CachedCandidate], prompts: Sequence[Text]) -> list[Any]:
        """Returns sampled candidates as images or clips."""
        return decode_candidates(self._frozen, candidates, self._length.get("fps", 8.0))

    def roundtrip_candidates(self, media: Sequence[Media], store: TensorCache, keys: Sequence[str]) -> None:
        """Decodes the latents of candidates, means of their posteriors, and encodes them again; see `candidates`."""
        latents = latents_of(self._frozen, self._encoder.images(media))
        kept: dict[str, Any] = {"mirrored": self.config.flip != "none", "dtype": self._kept_dtype}
        store_roundtrip(self._frozen, latents, store, keys, self.resolution, **kept)

    def trainable(self) -> dict[str, nn.Parameter]:
        """Returns the adapter's tensors, or every weight, by their name in the unwrapped network."""
        return dict(self._trainable.everything)

    def state(self) -> dict[str, Tensor]:
        """Returns copies of the trainable tensors on the CPU."""
        return self._trainable.state()

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Puts trainable tensors back. Raises RunError when names or shapes are not this policy's."""
        self._trainable.load(state)

    def sampling(self) -> AbstractContextManager[Any]:
        """Keeps autoencoder and text encoders loaded for the length of the block."""
        return self._frozen.kept_loaded()

    def sample(
        self, prompts: Sequence[Text], seeds: Sequence[int], *, reference: bool = False, **settings: Any
    ) -> list[Any]:
        """Returns one image or clip per prompt and seed; settings are those of `sampling.sample`. ``reference`` means
        the base model, also where the policy is compared with an earlier checkpoint.
        """
        settings.setdefault("resolution", self.resolution)
        self.residency.bring("network")
        with self._policy_and_reference.base() if reference else nullcontext(unwrap(self.module)) as network:
            texts = [plain_text(prompt) for prompt in prompts]
            return sample(self._frozen, network, texts, seeds, count=self.forward_counts, **self._length, **settings)

    def latent_space(self) -> LatentSpace:
        """Returns what decides what an image's latent is: the autoencoder and its scale."""
        return self._frozen.latent_space()

    def check_kept_latents(self, pairs: Sequence[Pair]) -> None:
        """Raises ConfigError or DataError where kept latents among the candidates are not of this model."""
        check_kept_latents(pairs, self.latent_space(), self.latent_shape, self.config.flip)

    def sample_with_latents(
        self, prompts: Sequence[Text], seeds: Sequence[int], *, reference: bool = False, **settings: Any
    ) -> tuple[list[Any], list[Tensor]]:
        """Returns the samples of :meth:`sample` and the latents that they are decoded from."""
        latents = self.sample(prompts, seeds, reference=reference, latents_only=True, **settings)
        return decode_samples(self._frozen, latents, self._length.get("fps", 8.0)), latents

    def format_prompt(self, prompt: Text, **settings: Any) -> Text:
        """Returns the prompt itself."""
        return prompt

    def save(self, folder: Path, about: Mapping[str, Any]) -> Path:
        """Writes the adapter file, or for full fine-tuning a whole pipeline folder; returns its path."""
        network = unwrap(self.module)
        return save_denoiser(self.config, self._frozen, network, self.base_fingerprint, folder, about)

    def card(self, artifact: Path, card: Card) -> Path:
        """Writes ``README.md`` next to the adapter file, or into the pipeline's folder, with copies of the examples."""
        return write_denoiser_card(self.config, self._frozen, artifact, card)

    def load_adapter(self, path: Path | SharedAdapter, *, any_base: bool = False) -> dict[str, Any]:
        """Puts a shared adapter's weights on this policy and returns the facts that its file states."""
        if self.config.adapter is None:
            raise ConfigError(
                f"cannot load the adapter {path} into a model whose every weight trains. Set model.adapter with the "
                "rank of the file"
            )
        base = (self.base_fingerprint, public_name(self.config.path))
        return load_into(unwrap(self.module), path, base=None if any_base else base).about

    @property
    def _length(self) -> dict[str, Any]:
        """The settings of sampling that a clip has more than an image."""
        return {} if self.clip is None else {"frames": self.clip.frames, "fps": self.clip.fps}

    @property
    def _kept_dtype(self) -> torch.dtype:
        """Precision in which the moments of candidates are kept."""
        found: torch.dtype = getattr(torch, getattr(self.config, "moments", "float32"))
        return found

    def _pair_key(self, pair: Pair) -> str:
        own_prompts = [str(answer.prompt) for answer in pair.answers.values() if answer.prompt is not None]
        media = (self._encoder.digest(candidate) for candidate in candidates_of(pair))
        weights = () if are_equal(pair.frame_weights) else (f"frames {scaled_to_mean_one(pair.frame_weights)}",)
        size = self.sizes.of(pair)
        shape = () if size == self.sizes.square else (f"{size[0]}x{size[1]}",)
        return content_key(pair.id, pair.prompt, *media, *own_prompts, *weights, *shape)


def _shown(media: Media) -> str:
    if isinstance(media, KeptLatent):
        return f"{media.image.name} (its latent)"
    return media.name if isinstance(media, Path) else type(media).__name__
