"""Images and prompts as tensors: from the cache where they are there already, else computed and stored.

What is stored of an image are the parameters of its posterior, mean and standard deviation, plain and (where mirroring
may be drawn) mirrored: sampling them at each visit is the published computation, exactly.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor

from diffalign.data.media.decode import media_digest, open_image
from diffalign.data.media.preprocess import frame, prepare_image
from diffalign.data.records.conversation import plain_text
from diffalign.data.records.pair import Media, Pair
from diffalign.data.storage.cached_candidate import CachedCandidate
from diffalign.data.storage.tensor_cache import TensorCache
from diffalign.policies.diffusion.config import ModelConfig
from diffalign.policies.diffusion.encoding.frozen_components import FrozenComponents
from diffalign.policies.policy import Progress

Tensors = dict[str, Tensor]
EMPTY = "empty"


class CachedEncoder:
    """Encoders with a memory.

    Args:
        frozen: Autoencoder and text encoders.
        config: For the cache, the mirroring and the batch size.
        resolution: Side of the images, px.
    """

    def __init__(self, frozen: FrozenComponents, config: ModelConfig, resolution: int) -> None:
        self._frozen = frozen
        self._resolution = resolution
        self._mirrored = config.flip != "none"
        self._batch = config.encode_batch
        self._names: dict[Media, str] = {}
        self._kept: dict[str, Tensors] = {}
        images, texts = frozen.digests()
        self.image_maker = f"images-{images}-{resolution}-center-{'both' if self._mirrored else 'plain'}"
        self.text_maker = f"texts-{texts}"
        folder = config.cache_folder()
        self._images = TensorCache(folder, self.image_maker) if config.use_cache else None
        self._texts = TensorCache(folder, self.text_maker) if config.use_cache else None

    def prepare(self, pairs: Sequence[Pair], progress: Progress) -> None:
        """Encodes and stores what is not stored yet; a second call, after a kill too, goes on where the first ended."""
        if self._images is None or self._texts is None:
            return
        given = [answer.candidate for pair in pairs for answer in pair.answers.values()]
        media = {self.name(item): item for item in given if not isinstance(item, CachedCandidate)}
        _fill(self._images, media, self._encode_images, self._batch, "encode images", progress)
        prompts = {_prompt_key(prompt): prompt for prompt in sorted(_prompts(pairs))}
        _fill(self._texts, prompts, self._encode_prompts, self._batch, "encode prompts", progress)
        self.empty()

    def images(self, media: Sequence[Media]) -> list[Tensors]:
        """``mean`` and ``std`` ``(V, C, h, w)`` and ``size`` ``(4,)`` of each image; of a kept one as it was kept."""
        named = {self.name(item): item for item in media if not isinstance(item, CachedCandidate)}
        found = _look_up(self._images, named, self._encode_images, self._batch)
        found |= {self.name(item): item.read() for item in media if isinstance(item, CachedCandidate)}
        return [found[self.name(item)] for item in media]

    def prompts(self, prompts: Sequence[str]) -> list[Tensors]:
        """Conditioning of each prompt, without a batch axis."""
        named = {_prompt_key(prompt): prompt for prompt in prompts}
        found = _look_up(self._texts, named, self._encode_prompts, self._batch)
        return [found[_prompt_key(prompt)] for prompt in prompts]

    def empty(self) -> Tensors:
        """Conditioning of the unconditional branch, without a batch axis; kept."""
        if EMPTY not in self._kept:
            found = None if self._texts is None else self._texts.get(EMPTY)
            if found is None:
                found = {name: value[0].cpu().contiguous() for name, value in self._frozen.prompts().empty().items()}
                if self._texts is not None:
                    self._texts.put_many({EMPTY: found})
            self._kept[EMPTY] = found
        return self._kept[EMPTY]

    def name(self, media: Media) -> str:
        """Content digest of an image, read once; of a kept candidate the digest of its handle."""
        if isinstance(media, CachedCandidate):
            return media.digest()
        if media not in self._names:
            self._names[media] = media_digest(media)
        return self._names[media]

    def _encode_images(self, media: Sequence[Media]) -> list[Tensors]:
        sizes, views = [], []
        for item in media:
            image = open_image(item)
            fit = frame(image.size, self._resolution)
            sizes.append(torch.tensor([image.height, image.width, fit.top, fit.left]))
            mirrors = (False, True) if self._mirrored else (False,)
            views += [prepare_image(image, self._resolution, flip=mirror) for mirror in mirrors]
        mean, std = (x.unflatten(0, (len(media), -1)).cpu() for x in self._frozen.posterior(torch.stack(views)))
        return [{"mean": mean[i].contiguous(), "std": std[i].contiguous(), "size": sizes[i]} for i in range(len(media))]

    def _encode_prompts(self, prompts: Sequence[str]) -> list[Tensors]:
        encoded = self._frozen.prompts().encode(prompts)
        return [{name: value[i].cpu().contiguous() for name, value in encoded.items()} for i in range(len(prompts))]


def _prompts(pairs: Sequence[Pair]) -> set[str]:
    return {plain_text(pair.prompt_of(role)) for pair in pairs for role in pair.answers}


Encode = Callable[[Sequence], list[Tensors]]


def _look_up(cache: TensorCache | None, named: dict, encode: Encode, batch: int) -> dict[str, Tensors]:
    found: dict[str, Tensors] = {}
    for key in named:
        value = None if cache is None else cache.get(key)
        if value is not None:
            found[key] = value
    for keys in _chunks([key for key in named if key not in found], batch):
        fresh = dict(zip(keys, encode([named[key] for key in keys]), strict=True))
        if cache is not None:
            cache.put_many(fresh)
        found |= fresh
    return found


def _fill(cache: TensorCache, named: dict, encode: Encode, batch: int, what: str, progress: Progress) -> None:
    missing = cache.missing(named)
    done = len(named) - len(missing)
    with cache.writer() as writer:
        for keys in _chunks(missing, batch):
            for key, tensors in zip(keys, encode([named[key] for key in keys]), strict=True):
                writer.put(key, tensors)
            done += len(keys)
            progress(what, done, len(named))


def _chunks(items: Sequence[str], size: int) -> Iterable[Sequence[str]]:
    return (items[i : i + size] for i in range(0, len(items), size))


def _prompt_key(prompt: str) -> str:
    return "prompt-" + hashlib.blake2b(prompt.encode(), digest_size=16).hexdigest()
