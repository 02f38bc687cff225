"""The image policy: a diffusers denoiser with its reference, encoders and sampler, behind the seam of `policy`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from diffalign.data.records.conversation import Text, plain_text
from diffalign.data.records.pair import Media, Pair
from diffalign.data.storage.tensor_cache import TensorCache, content_key
from diffalign.devices.budget import format_bytes, module_bytes
from diffalign.errors import ConfigError
from diffalign.policies.diffusion.config import ModelConfig
from diffalign.policies.diffusion.encoding.encode import CachedEncoder
from diffalign.policies.diffusion.encoding.frozen_components import FrozenComponents
from diffalign.policies.diffusion.sampling.candidates import make_candidates
from diffalign.policies.diffusion.sampling.sample import sample
from diffalign.policies.diffusion.scoring.batch import candidates_of, encode_pairs
from diffalign.policies.diffusion.scoring.denoiser import Denoiser, EncodedImages
from diffalign.policies.diffusion.scoring.forward_counts import ForwardCounts
from diffalign.policies.diffusion.scoring.score import PolicyAndReference
from diffalign.policies.module_utils import unwrap, weights_digest
from diffalign.policies.policy import BatchLogps, Card, Plan, Progress, no_progress
from diffalign.policies.second_adapter import SecondAdapter
from diffalign.policies.trainable import Trainable
from diffalign.randomness import Draw
from diffalign.sharing.adapter_file import load_into, save_adapter
from diffalign.sharing.atomic import replace_folder
from diffalign.sharing.card import write_card
from diffalign.sharing.card_templates import image_style
from diffalign.sharing.public_name import public_name


class ImagePolicy:
    """Implements :class:`~diffalign.policies.policy.Policy` for images. Built by `load.load_policy`.

    Args:
        module: The denoiser, its adapter added (or all its weights in float32), on its device.
        frozen: Autoencoder, text encoders, sampler.
        denoiser: The rules of judging.
        config: What it was built from.
        resolution: Side of the images, px.
        sizes: Conditions that depend on an image's size: the family's ``Prompts.sizes``.
        load_base: Loads the denoiser once more, frozen.
        notes: Lines for the header.
    """

    medium = "image"
    eval_draws = 4
    """Noise levels at which a held-out pair is judged."""

    def __init__(
        self,
        module: nn.Module,
        frozen: FrozenComponents,
        denoiser: Denoiser,
        config: ModelConfig,
        resolution: int,
        sizes: Callable[[Tensor, int, bool], dict[str, Tensor]],
        load_base: Callable[[], nn.Module],
        notes: Mapping[str, str] | None = None,
    ) -> None:
        self.module = module
        self.config = config
        self.resolution = resolution
        self.device: torch.device = next(module.parameters()).device
        self.base_fingerprint = weights_digest([module])
        self._frozen = frozen
        self._denoiser = denoiser
        self._sizes = sizes
        self._notes = dict(notes or {})
        self._encoding = CachedEncoder(frozen, config, resolution)
        self._trainable = Trainable(module)
        self._policy_and_reference = PolicyAndReference(
            lambda: self.module,
            self._trainable.parameters,
            denoiser,
            config,
            self.encode,
            self._pair_key,
            self.fingerprint(),
            load_base,
        )

    @property
    def forward_counts(self) -> ForwardCounts:
        """What the network has been evaluated for so far."""
        return self._policy_and_reference.forward_counts

    @property
    def reference_kind(self) -> str:
        """Kind of the reference: ``"adapter_off"``, ``"copy"``, ``"stored"`` or ``"earlier"``."""
        return self._policy_and_reference.reference_kind

    @property
    def latent_elements(self) -> int:
        """How many numbers a latent has: what a mean and a sum of squared errors differ by."""
        side = self.resolution // self._frozen.pixels_per_latent
        config: Any = unwrap(self.module).config
        return int(config.in_channels) * side * side

    def describe(self) -> dict[str, str]:
        """Model, what trains, reference, resolution and cache, each in words."""
        total = sum(parameter.numel() for parameter in unwrap(self.module).parameters())
        adapter = self.config.adapter
        reference = self._policy_and_reference.reference.describe()
        if self.reference_kind == "stored" and adapter is not None:
            reference = "stored errors (no memory, no time for planned visits; others with the adapter switched off)"
        return {
            "model": f"{self.config.path} ({format_bytes(module_bytes(unwrap(self.module)))} of weights)",
            "trains": "every weight of the denoiser" if adapter is None else adapter.describe(),
            "parameters": f"{self._trainable.count:,} trainable of {total:,}",
            "reference": reference,
            "resolution": f"{self.resolution} px",
            "cache": f"{self.config.cache_folder()}" if self.config.use_cache else "off: encoders run at every step",
            **self._notes,
        }

    def fingerprint(self) -> str:
        """Identity of the base weights, the encoders, and the rules by which pairs are judged."""
        c, d = self.config, self._denoiser
        found = f"{d.estimate.name} {sorted(d.estimate.settings.items())} {c.latents.inverter}"
        rules = (c.dtype, c.flip, c.reduction, str(c.timesteps), found, c.size_ids, d.caption_dropout)
        levels = d.schedule.alphas_cumprod.numpy().tobytes()
        makers = (self._encoding.image_maker, self._encoding.text_maker)
        return content_key(self.base_fingerprint, *makers, *rules, d.schedule.prediction, levels)

    def prepare(self, pairs: Sequence[Pair], progress: Progress = no_progress) -> list[str]:
        """Encodes every image and prompt once and lets the encoders go; without a cache they stay."""
        if self.config.masks is not None:
            self.config.masks.check(pairs)
        self._encoding.prepare(pairs, progress)
        if self.config.use_cache:
            self._frozen.release()
        return []

    def show(self, pair: Pair) -> str:
        """Its prompt and where its candidates lie."""
        names = [media.name if isinstance(media, Path) else type(media).__name__ for media in candidates_of(pair)]
        return f"{pair.source or pair.id}: {str(pair.prompt)!r}, " + " better than ".join(names)

    def microbatch_order(self, pairs: Sequence[Pair]) -> list[int]:
        """As they come: images of one size share nothing."""
        return list(range(len(pairs)))

    def encode(self, pairs: Sequence[Pair], prompts: bool = False) -> EncodedImages:
        """Posterior parameters and conditioning of a batch, on the device. ``prompts`` changes nothing: no denoiser
        says how likely one is."""
        keys = tuple(self._pair_key(pair) for pair in pairs)
        return encode_pairs(pairs, keys, self._encoding, self.config, self.resolution, self._sizes, self.device)

    def logps(self, encoded: EncodedImages, draw: Draw) -> BatchLogps:
        """Scores under the policy, with gradient."""
        return self._policy_and_reference.policy_logps(encoded, draw)

    def reference_logps(self, encoded: EncodedImages, draw: Draw) -> BatchLogps:
        """Scores under the reference: looked up where they are stored, else computed."""
        return self._policy_and_reference.reference_logps(encoded, draw)

    def compare_parts(self, encoded: EncodedImages, draw: Draw) -> tuple[BatchLogps, BatchLogps]:
        """Scores under policy and reference, and how far apart the two are at each position."""
        return self._policy_and_reference.compare_parts(encoded, draw)

    def prepare_reference(
        self,
        pairs: Sequence[Pair],
        plan: Plan,
        seed: int,
        batch: int = 8,
        progress: Progress = no_progress,
        prompts: bool = False,
    ) -> int:
        """Computes and stores what the reference says or finds at planned visits: its errors where it is stored, its
        latents where they are; a no-op where neither is.

        Call it within the same autocast as training, before the first step, and after a resume before the policy's
        weights are put back. What is stored already, by an earlier call or an earlier run, is not computed again.

        Args:
            plan: ``(index into pairs, visit)`` of every time that a pair will be met.
            batch: Pairs at a time.
            progress: Told how far it is.
            prompts: Changes nothing, as for :meth:`encode`.

        Returns:
            How many had to be computed.
        """
        return self._policy_and_reference.prepare(pairs, plan, seed, batch, progress)

    @property
    def latents_refresh_every(self) -> int:
        """Optimizer steps for which latents found by the policy are kept; 0: they are not."""
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
        """Finds the latents of all visits of window ``number`` with the policy as it is and keeps them in ``folder``;
        arguments and result else as for :meth:`prepare_reference`. A killed call goes on, with the same weights."""
        return self._policy_and_reference.refresh(pairs, plan, seed, folder, number, batch, progress)

    def set_reference(self, state: Mapping[str, Tensor]) -> None:
        """From now on the reference is the network with these trainable tensors. Raises ConfigError where its errors or
        latents were to be stored: they are those of one model."""
        self._policy_and_reference.set_reference(state)

    def set_previous(self, state: Mapping[str, Tensor]) -> None:
        """Keeps the network with these trainable tensors for losses that read the policy as it was."""
        self._policy_and_reference.set_previous(state)

    def previous_logps(self, encoded: EncodedImages, draw: Draw) -> BatchLogps:
        """Scores under the policy as it was held, without gradient."""
        return self._policy_and_reference.previous_logps(encoded, draw)

    def add_second_adapter(self) -> SecondAdapter:
        """Adds a second adapter, which trains beside the first; see `weights`."""
        return self._trainable.add_second_adapter(self.config)

    def second_adapter_logps(self, encoded: EncodedImages, draw: Draw) -> BatchLogps:
        """Scores under the second adapter, with gradient."""
        assert self._trainable.second is not None, "there is no second adapter"
        return self._policy_and_reference.second_adapter_logps(encoded, draw, self._trainable.second)

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
        """Samples as candidates, one per prompt and seed, kept in ``store`` under their keys; see `candidates`."""
        settings |= {"resolution": self.resolution, "count": self.forward_counts}
        mirrored = self.config.flip != "none"
        with (
            self._policy_and_reference.reference.network() if reference else nullcontext(unwrap(self.module)) as network
        ):
            texts = [plain_text(prompt) for prompt in prompts]
            return make_candidates(self._frozen, network, texts, seeds, store, keys, mirrored=mirrored, **settings)

    def trainable(self) -> dict[str, nn.Parameter]:
        """The adapter's tensors, or every weight, by their name in the unwrapped network."""
        return dict(self._trainable.everything)

    def state(self) -> dict[str, Tensor]:
        """Copies of the trainable tensors on the CPU."""
        return self._trainable.state()

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Puts trainable tensors back. Raises RunError when names or shapes are not this policy's."""
        self._trainable.load(state)

    def sampling(self) -> AbstractContextManager[Any]:
        """Keeps autoencoder and text encoders loaded while the block lasts."""
        return self._frozen.visiting()

    def sample(
        self, prompts: Sequence[Text], seeds: Sequence[int], *, reference: bool = False, **settings: Any
    ) -> list[Any]:
        """Images, one per prompt and seed; settings are those of `sampling.sample`. ``reference`` means the base
        model, also where an earlier checkpoint is compared with."""
        settings.setdefault("resolution", self.resolution)
        with self._policy_and_reference.base() if reference else nullcontext(unwrap(self.module)) as network:
            texts = [plain_text(prompt) for prompt in prompts]
            return sample(self._frozen, network, texts, seeds, count=self.forward_counts, **settings)

    def format_prompt(self, prompt: Text, **settings: Any) -> Text:
        """The prompt itself."""
        return prompt

    def save(self, folder: Path, about: Mapping[str, Any]) -> Path:
        """Writes the adapter file, or for full fine-tuning a whole pipeline folder; returns its path."""
        network = unwrap(self.module)
        facts = {"base_model": public_name(self.config.path), "base_revision": self.config.revision, **about}
        if self.config.adapter is not None:
            return save_adapter(network, folder, {**facts, "base_fingerprint": self.base_fingerprint})
        with self._frozen.visiting() as pipeline:
            pipeline.register_modules(unet=network)
            try:
                return replace_folder(Path(folder), pipeline.save_pretrained)
            finally:
                pipeline.register_modules(unet=None)

    def card(self, artifact: Path, card: Card) -> Path:
        """Writes ``README.md`` beside the adapter file, or into the pipeline's folder, with copies of the examples."""
        adapter = self.config.adapter is not None
        folder = artifact.parent if adapter else artifact
        style = image_style(public_name(self.config.path), self._frozen.kind, artifact.name if adapter else None)
        return write_card(folder, style, card)

    def load_adapter(self, path: Path, *, any_base: bool = False) -> dict[str, Any]:
        """Puts a shared adapter file's weights on this policy and returns what the file says about itself."""
        if self.config.adapter is None:
            raise ConfigError("an adapter file needs an adapter to load into; set model.adapter (rank as in the file)")
        base = (self.base_fingerprint, public_name(self.config.path))
        return load_into(unwrap(self.module), path, base=None if any_base else base)

    def _pair_key(self, pair: Pair) -> str:
        own = [str(answer.prompt) for answer in pair.answers.values() if answer.prompt is not None]
        return content_key(pair.id, pair.prompt, *(self._encoding.name(media) for media in candidates_of(pair)), *own)
