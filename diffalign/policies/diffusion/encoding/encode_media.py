"""The autoencoder's posteriors of images and of clips, one item after the other, in passes of a fixed size.

An image's tensors are ``mean`` and ``std`` ``(V, C, h, w)``, ``V`` views: plain, and mirrored where mirroring may be
drawn. A clip's are ``(V, C, F, h, w)``; all its frames are cropped and mirrored alike. Frames go through the
autoencoder in passes that cross the borders of clips, so memory is that of one pass and of one clip's frames, however
long clips are.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator
from contextlib import contextmanager
from itertools import groupby, islice
from typing import Protocol, TypeVar

import torch
from torch import Tensor

from diffalign.data.media.buckets import Size
from diffalign.data.media.clips.clip import Clip
from diffalign.data.media.clips.clip_pixels import clip_pixels
from diffalign.data.media.clips.open_clip import open_clip
from diffalign.data.media.decode import decoded_digest, media_digest, open_image
from diffalign.data.media.preprocess import frame, prepare_image
from diffalign.data.records.pair import Media
from diffalign.devices.halving import Pieces
from diffalign.errors import DataError
from diffalign.policies.diffusion.config import ModelConfig
from diffalign.policies.diffusion.encoding.frozen_components import FrozenComponents
from diffalign.policies.diffusion.video_config import VideoModelConfig

Tensors = dict[str, Tensor]
Sized = tuple[Media, Size]
"""A candidate, and the height and width that its pixels fill."""
Item = TypeVar("Item")


class MediaEncoder(Protocol):
    """How candidates of one medium become tensors."""

    task: str
    """Words for the progress of encoding."""

    together: bool
    """Whether several candidates are encoded together, ``encode_batch`` of them."""

    def maker(self, autoencoder: str) -> str:
        """Returns the name of what makes the tensors, with that of the autoencoder: part of the cache's keys."""

    def digest(self, media: Media) -> str:
        """Returns the identity of what is decoded of a candidate."""

    def encode(self, items: Iterable[Sized]) -> Iterator[Tensors]:
        """Yields the tensors of each candidate, at its size."""


def media_encoder(frozen: FrozenComponents, config: ModelConfig, resolution: int) -> MediaEncoder:
    """Returns the encoder of the configuration's medium."""
    if isinstance(config, VideoModelConfig):
        return ClipEncoder(frozen, config, resolution)
    return ImageEncoder(frozen, config, resolution)


class ImageEncoder:
    """Encodes images, ``config.encode_batch`` together."""

    task = "encode images"
    together = True

    def __init__(self, frozen: FrozenComponents, config: ModelConfig, resolution: int) -> None:
        self._frozen, self._resolution = frozen, resolution
        self._pieces = Pieces("images are encoded", config.encode_batch)
        self._mirrored = config.flip != "none"

    def maker(self, autoencoder: str) -> str:
        """Returns the name: autoencoder, resolution, crop, views."""
        return f"pictures-{autoencoder}-{self._resolution}-center-{'both' if self._mirrored else 'plain'}"

    def digest(self, media: Media) -> str:
        """Returns the digest of an image's bytes, marked where a colour profile is applied."""
        return decoded_digest(media)

    def encode(self, items: Iterable[Sized]) -> Iterator[Tensors]:
        """Yields the tensors of each image."""
        yield from self._pieces.each(items, self._encode)

    def _encode(self, items: list[Sized]) -> list[Tensors]:
        runs = groupby(items, key=lambda item: item[1])
        return [tensors for size, run in runs for tensors in self._of_one_size([media for media, _ in run], size)]

    def _of_one_size(self, media: list[Media], size: Size) -> list[Tensors]:
        sizes, views = [], []
        for item in media:
            with advice_on_bad_media():
                image = open_image(item)
            fit = frame(image.size, size)
            sizes.append(torch.tensor([image.height, image.width, fit.top, fit.left]))
            mirrors = (False, True) if self._mirrored else (False,)
            views += [prepare_image(image, size, flip=mirror) for mirror in mirrors]
        mean, std = (x.unflatten(0, (len(media), -1)).cpu() for x in self._frozen.posterior(torch.stack(views)))
        return [{"mean": mean[i].contiguous(), "std": std[i].contiguous(), "size": sizes[i]} for i in range(len(media))]


class ClipEncoder:
    """Encodes clips, ``config.encode_batch`` frames together, and keeps their moments in ``config.moments``."""

    task = "encode clips"
    together = False

    def __init__(self, frozen: FrozenComponents, config: VideoModelConfig, resolution: int) -> None:
        self._frozen, self._resolution, self._batch = frozen, resolution, config.encode_batch
        self._rule, self._moments = config.clip.frame_rule, config.moments
        self._mirrors = (False, True) if config.flip != "none" else (False,)

    def maker(self, autoencoder: str) -> str:
        """Returns the name: autoencoder, resolution, crop, views, rule of frames, precision."""
        views = "both" if len(self._mirrors) > 1 else "plain"
        return f"clips-{autoencoder}-{self._resolution}-center-{views}-{self._rule.identity}-{self._moments}"

    def digest(self, media: Media) -> str:
        """Returns the digest of a clip's bytes, or of those of its frames."""
        return media_digest(media)

    def encode(self, items: Iterable[Sized]) -> Iterator[Tensors]:
        """Yields the tensors of each clip as soon as its last frame is encoded."""
        waiting: list[tuple[int, Tensor]] = []  # frames, and sizes, of clips that were read and not encoded to the end
        parts: list[tuple[Tensor, Tensor]] = []

        def frames() -> Iterator[Tensor]:
            for media, size in items:
                with advice_on_bad_media():
                    clip = open_clip(media, self._rule)
                waiting.append((len(clip.frames) * len(self._mirrors), self._size(clip, size)))
                yield from self._views(clip, size)

        for part in chunks(frames(), self._batch, key=lambda pixels: pixels.shape):
            pixels = torch.stack(part, 1)[None]
            mean, std = (value[0].unbind(1) for value in self._frozen.posterior(pixels))
            parts += zip(mean, std, strict=True)
            while waiting and len(parts) >= waiting[0][0]:
                count, size = waiting.pop(0)
                yield self._tensors(parts[:count], size)
                del parts[:count]

    def _views(self, clip: Clip, size: Size) -> Iterator[Tensor]:
        """Yields the frames ``(3, H, W)`` of the plain view, then of the mirrored."""
        for mirror in self._mirrors:
            yield from clip_pixels(clip, size, flip=mirror)

    def _size(self, clip: Clip, size: Size) -> Tensor:
        fit = frame(clip.size, size)
        return torch.tensor([*reversed(clip.size), fit.top, fit.left])

    def _tensors(self, frames: list[tuple[Tensor, Tensor]], size: Tensor) -> Tensors:
        kept: dict[str, Tensor] = {"size": size}
        for name, values in zip(("mean", "std"), zip(*frames, strict=True), strict=True):
            views = torch.stack(values, 1).unflatten(1, (len(self._mirrors), -1)).transpose(0, 1)
            kept[name] = views.to("cpu", getattr(torch, self._moments)).contiguous()
        return kept


@contextmanager
def advice_on_bad_media() -> Iterator[None]:
    """Adds to the error of a candidate that cannot be read how to train without it."""
    try:
        yield
    except DataError as error:
        raise DataError(
            f"{error} To leave out rows with such files, type: --set data.options.bad_images=drop (of held-out pairs: "
            "data.eval_options.bad_images)"
        ) from error


def chunks(items: Iterable[Item], size: int, key: Callable[[Item], Hashable]) -> Iterator[list[Item]]:
    """Yields the items in lists of up to ``size`` with equal keys. It reads no further than the list that it yields,
    and one item where the key changes.
    """
    for _, run in groupby(items, key=key):
        while part := list(islice(run, size)):
            yield part
