"""Images and prompts as tensors: read from the cache where they are stored, otherwise computed and stored.

The stored tensors of an image are its posterior's mean and standard deviation, plain and (where mirroring may be drawn)
mirrored: sampling them at each visit is the published computation, exactly. A kept latent takes the place of its image.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from diffalign.data.media.decode import decoded_digest, media_digest, open_image
from diffalign.data.media.preprocess import frame, prepare_image
from diffalign.data.records.conversation import plain_text
from diffalign.data.records.pair import Media, Pair
from diffalign.data.storage.cached_candidate import CachedCandidate
from diffalign.data.storage.kept_latents import KeptLatent
from diffalign.data.storage.tensor_cache import TensorCache
from diffalign.errors import DataError
from diffalign.policies.diffusion.config import ModelConfig
from diffalign.policies.diffusion.encoding.frozen_components import FrozenComponents
from diffalign.policies.policy import Progress

Tensors = dict[str, Tensor]
EMPTY = "empty"
TENSORS = (CachedCandidate, KeptLatent)
"""Candidates that are tensors already, so that nothing is encoded."""


class CachedEncoder:
    """Encoders with a cache.

    Args:
        frozen: Autoencoder and text encoders.
        config: For the cache, the mirroring, the size ids and the batch size.
        resolution: Side of the images, px.
    """

    def __init__(self, frozen: FrozenComponents, config: ModelConfig, resolution: int) -> None:
        self._frozen = frozen
        self._resolution = resolution
        self._mirrored = config.flip != "none"
        self._fixed_size_ids = config.size_ids == "fixed"
        self._batch = config.encode_batch
        self._digests: dict[Media, str] = {}
        self._empty: Tensors | None = None
        images, texts = frozen.digests()
        # Caches and windows of earlier versions are found by these names, so their words stay.
        self.image_maker = f"pictures-{images}-{resolution}-center-{'both' if self._mirrored else 'plain'}"
        self.text_maker = f"texts-{texts}"
        folder = config.cache_folder()
        self._images = TensorCache(folder, self.image_maker) if config.use_cache else None
        self._texts = TensorCache(folder, self.text_maker) if config.use_cache else None

    def prepare(self, pairs: Sequence[Pair], progress: Progress) -> None:
        """Encodes and stores everything that is not stored yet; a second call, also after a kill, continues where the
        first one stopped.
        """
        if self._images is None or self._texts is None:
            return
        candidates = [answer.candidate for pair in pairs for answer in pair.answers.values()]
        media = {self.digest(item): item for item in candidates if not isinstance(item, TENSORS)}
        _fill(self._images, media, self._encode_images, self._batch, "encode images", progress)
        prompts = {_prompt_key(prompt): prompt for prompt in sorted(_prompts(pairs))}
        _fill(self._texts, prompts, self._encode_prompts, self._batch, "encode prompts", progress)
        self.empty()

    def images(self, media: Sequence[Media]) -> list[Tensors]:
        """Returns ``mean`` and ``std`` ``(V, C, h, w)`` and ``size`` ``(4,)`` of each image or handle of tensors."""
        by_digest = {self.digest(item): item for item in media if not isinstance(item, TENSORS)}
        tensors = _look_up(self._images, by_digest, self._encode_images, self._batch)
        tensors |= {self.digest(item): item.read() for item in media if isinstance(item, CachedCandidate)}
        tensors |= {self.digest(item): self._kept(item) for item in media if isinstance(item, KeptLatent)}
        return [tensors[self.digest(item)] for item in media]

    def prompts(self, prompts: Sequence[str]) -> list[Tensors]:
        """Returns the conditioning of each prompt, without a batch axis."""
        by_key = {_prompt_key(prompt): prompt for prompt in prompts}
        tensors = _look_up(self._texts, by_key, self._encode_prompts, self._batch)
        return [tensors[_prompt_key(prompt)] for prompt in prompts]

    def sizes(self, size: Tensor) -> Tensors:
        """Returns the conditions that depend on images' sizes ``(B, 4)``, each ``(B, ...)``."""
        return self._frozen.family.size_conditioning(size, self._resolution, self._fixed_size_ids)

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
            with _advice_on_bad_images():
                self._digests[media] = decoded_digest(media)
        return self._digests[media]

    def _encode_images(self, media: Sequence[Media]) -> list[Tensors]:
        sizes, views = [], []
        for item in media:
            with _advice_on_bad_images():
                image = open_image(item)
            fit = frame(image.size, self._resolution)
            sizes.append(torch.tensor([image.height, image.width, fit.top, fit.left]))
            mirrors = (False, True) if self._mirrored else (False,)
            views += [prepare_image(image, self._resolution, flip=mirror) for mirror in mirrors]
        mean, std = (x.unflatten(0, (len(media), -1)).cpu() for x in self._frozen.posterior(torch.stack(views)))
        return [{"mean": mean[i].contiguous(), "std": std[i].contiguous(), "size": sizes[i]} for i in range(len(media))]

    def _kept(self, kept: KeptLatent) -> Tensors:
        """Returns a latent as a posterior without spread, of an image that fills the model's resolution."""
        mean, std = self._frozen.sharp_posterior(kept.read()[None])
        return {"mean": mean[0], "std": std[0], "size": torch.tensor([self._resolution, self._resolution, 0, 0])}

    def _encode_prompts(self, prompts: Sequence[str]) -> list[Tensors]:
        encoded = self._frozen.prompt_encoder().encode(prompts)
        return [{name: value[i].cpu().contiguous() for name, value in encoded.items()} for i in range(len(prompts))]


@contextmanager
def _advice_on_bad_images() -> Iterator[None]:
    """Adds to the error of an image that cannot be read how to train without it."""
    try:
        yield
    except DataError as error:
        raise DataError(
            f"{error} To leave out rows with such images, type: --set data.options.bad_images=drop (of held-out pairs: "
            "data.eval_options.bad_images)"
        ) from error


def _prompts(pairs: Sequence[Pair]) -> set[str]:
    return {plain_text(pair.prompt_of(role)) for pair in pairs for role in pair.answers}


Encode = Callable[[Sequence], list[Tensors]]


def _look_up(cache: TensorCache | None, by_key: dict, encode: Encode, batch: int) -> dict[str, Tensors]:
    tensors: dict[str, Tensors] = {}
    for key in by_key:
        stored = None if cache is None else cache.get(key)
        if stored is not None:
            tensors[key] = stored
    for keys in _chunks([key for key in by_key if key not in tensors], batch):
        computed = dict(zip(keys, encode([by_key[key] for key in keys]), strict=True))
        if cache is not None:
            cache.put_many(computed)
        tensors |= computed
    return tensors


def _fill(cache: TensorCache, by_key: dict, encode: Encode, batch: int, task: str, progress: Progress) -> None:
    missing = cache.missing(by_key)
    done = len(by_key) - len(missing)
    with cache.writer() as writer:
        for keys in _chunks(missing, batch):
            for key, tensors in zip(keys, encode([by_key[key] for key in keys]), strict=True):
                writer.put(key, tensors)
            done += len(keys)
            progress(task, done, len(by_key))


def _chunks(items: Sequence[str], size: int) -> Iterable[Sequence[str]]:
    return (items[i : i + size] for i in range(0, len(items), size))


def _prompt_key(prompt: str) -> str:
    return "prompt-" + hashlib.blake2b(prompt.encode(), digest_size=16).hexdigest()
