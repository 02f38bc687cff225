"""Images, clips and prompts as tensors: read from the cache where they are stored, otherwise computed and stored.

The stored tensors of an image are its posterior's mean and standard deviation, plain and (where mirroring may be drawn)
mirrored: sampling them at each visit is the published computation, exactly. A kept latent takes the place of its image.
A clip has the same tensors with an axis of frames; see `encode_media`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from diffalign.data.media.buckets import Size
from diffalign.data.media.decode import media_digest
from diffalign.data.records.conversation import plain_text
from diffalign.data.records.pair import Media, Pair
from diffalign.data.records.to_sample import ToSample
from diffalign.data.storage.cached_candidate import CachedCandidate
from diffalign.data.storage.kept_latents import KeptLatent
from diffalign.data.storage.tensor_cache import TensorCache
from diffalign.devices.halving import Pieces
from diffalign.devices.processes import ALONE, Processes
from diffalign.policies.diffusion.config import ModelConfig
from diffalign.policies.diffusion.encoding.encode_media import Sized, Tensors, advice_on_bad_media, media_encoder
from diffalign.policies.diffusion.encoding.frozen_components import FrozenComponents
from diffalign.policies.diffusion.encoding.pair_sizes import PairSizes
from diffalign.policies.policy import Progress

EMPTY = "empty"
TENSORS = (CachedCandidate, KeptLatent, ToSample)
"""Candidates that are tensors already, so that nothing is encoded."""


class CachedEncoder:
    """Encoders with a cache.

    Args:
        frozen: Autoencoder and text encoders.
        config: For the cache, the mirroring, the size ids and the batch size.
        resolution: Side of square images, px.
        sizes: The size of each pair.
    """

    def __init__(self, frozen: FrozenComponents, config: ModelConfig, resolution: int, sizes: PairSizes) -> None:
        self._frozen, self.sizes = frozen, sizes
        self._resolution = resolution
        self._media = media_encoder(frozen, config, resolution)
        self._fixed_size_ids = config.size_ids == "fixed"
        self._batch = config.encode_batch
        self._prompt_pieces = Pieces("prompts are encoded", config.encode_batch)
        self._digests: dict[Media, str] = {}
        self._empty: Tensors | None = None
        images, texts = frozen.digests()
        # Caches and windows of earlier versions are found by these names, so their words stay.
        self.image_maker = self._media.maker(images)
        self.text_maker = f"texts-{texts}"
        folder = config.cache_folder()
        self._images = TensorCache(folder, self.image_maker) if config.use_cache else None
        self._texts = TensorCache(folder, self.text_maker) if config.use_cache else None

    def prepare(self, pairs: Sequence[Pair], progress: Progress, processes: Processes = ALONE) -> None:
        """Encodes and stores everything that is not stored yet, of several processes each its share; a second call,
        also after a kill, continues where the first one stopped.
        """
        if self._images is None or self._texts is None:
            return
        media = dict[str, Sized]()
        for pair in pairs:
            files = [one.candidate for one in pair.answers.values() if not isinstance(one.candidate, TENSORS)]
            size = self.sizes.of(pair)
            media |= {self._key(file, size): (file, size) for file in files}
        media = dict(sorted(media.items(), key=lambda item: item[1][1]))  # of one size together
        share = Share(processes, self._batch if self._media.together else 1)
        _fill(self._images, media, self._media.encode, self._media.task, progress, share)
        prompts = {_prompt_key(prompt): prompt for prompt in sorted(_prompts(pairs))}
        _fill(self._texts, prompts, self._encode_prompts, "encode prompts", progress, Share(processes, self._batch))
        self.empty()

    def images(self, media: Sequence[Media], size: Size | None = None) -> list[Tensors]:
        """Returns ``mean`` and ``std`` ``(V, C, ...)`` and ``size`` ``(4,)`` of each image, clip or handle of
        tensors.

        Args:
            media: The candidates.
            size: Height and width of the pixels; None: the square.
        """
        size = size or self.sizes.square
        by_key = {self._key(item, size): (item, size) for item in media if not isinstance(item, TENSORS)}
        tensors = _look_up(self._images, by_key, self._media.encode)
        tensors |= {self.digest(item): item.read() for item in media if isinstance(item, CachedCandidate)}
        tensors |= {self.digest(item): self._kept(item) for item in media if isinstance(item, KeptLatent)}
        return [tensors[self._key(item, size)] for item in media]

    def prompts(self, prompts: Sequence[str]) -> list[Tensors]:
        """Returns the conditioning of each prompt, without a batch axis."""
        by_key = {_prompt_key(prompt): prompt for prompt in prompts}
        tensors = _look_up(self._texts, by_key, self._encode_prompts)
        return [tensors[_prompt_key(prompt)] for prompt in prompts]

    def size_conditions(self, original: Tensor, size: Size) -> Tensors:
        """Returns the conditions that depend on images' original sizes and crops ``(B, 4)``, each ``(B, ...)``, for
        pixels of a size.
        """
        return self._frozen.family.size_conditioning(original, size, self._fixed_size_ids)

    def empty(self) -> Tensors:
        """Returns the conditioning of the unconditional branch, without a batch axis; kept in memory."""
        if self._empty is None:
            stored = None if self._texts is None else self._texts.get(EMPTY)
            if stored is None:
                encoded = self._frozen.prompt_encoder().empty()
                stored = {name: value[0].cpu().contiguous() for name, value in encoded.items()}
                if self._texts is not None:
                    self._texts.put_many({EMPTY: stored})
            self._empty = stored
        return self._empty

    def digest(self, media: Media) -> str:
        """Returns the digest of what an image shows, which is read once, or that of a handle of tensors."""
        if isinstance(media, TENSORS):
            return media_digest(media)
        if media not in self._digests:
            with advice_on_bad_media():
                self._digests[media] = self._media.digest(media)
        return self._digests[media]

    def _key(self, media: Media, size: Size) -> str:
        """Returns the name of a candidate's tensors; at the square it is that of its content, as it always was."""
        if size == self.sizes.square or isinstance(media, TENSORS):
            return self.digest(media)
        return f"{self.digest(media)}-{size[0]}x{size[1]}"

    def _kept(self, kept: KeptLatent) -> Tensors:
        """Returns a latent as a posterior without spread, of an image that fills the model's resolution."""
        mean, std = self._frozen.sharp_posterior(kept.read()[None])
        return {"mean": mean[0], "std": std[0], "size": torch.tensor([self._resolution, self._resolution, 0, 0])}

    def _encode_prompts(self, prompts: Iterable[str]) -> Iterator[Tensors]:
        def encode(part: list[str]) -> list[Tensors]:
            encoded = self._frozen.prompt_encoder().encode(part)
            return [{name: value[i].cpu().contiguous() for name, value in encoded.items()} for i in range(len(part))]

        yield from self._prompt_pieces.each(prompts, encode)


def _prompts(pairs: Sequence[Pair]) -> set[str]:
    return {plain_text(pair.prompt_of(role)) for pair in pairs for role in pair.answers}


Encode = Callable[[Iterable], Iterator[Tensors]]
"""Yields the tensors of each item, in their order; it reads ahead as far as it encodes items together."""


def _look_up(cache: TensorCache | None, by_key: dict, encode: Encode) -> dict[str, Tensors]:
    tensors: dict[str, Tensors] = {}
    for key in by_key:
        stored = None if cache is None else cache.get(key)
        if stored is not None:
            tensors[key] = stored
    missing = [key for key in by_key if key not in tensors]
    computed = dict(zip(missing, encode(by_key[key] for key in missing), strict=True))
    if cache is not None:
        cache.put_many(computed)
    return tensors | computed


class Share(NamedTuple):
    """The processes that share the work, and how many items each encodes together."""

    processes: Processes
    block: int


def _fill(cache: TensorCache, by_key: dict, encode: Encode, task: str, progress: Progress, share: Share) -> None:
    missing = cache.missing(by_key)
    share.processes.wait()  # before a share is stored, all list the same
    done = len(by_key) - len(missing)
    missing = share.processes.blocks(missing, share.block)
    with cache.writer() as writer:
        for key, tensors in zip(missing, encode(by_key[key] for key in missing), strict=True):
            writer.put(key, tensors)
            done += 1
            progress(task, done, len(by_key))


def _prompt_key(prompt: str) -> str:
    return "prompt-" + hashlib.blake2b(prompt.encode(), digest_size=16).hexdigest()
