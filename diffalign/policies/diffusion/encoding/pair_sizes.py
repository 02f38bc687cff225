"""The size at which each pair is scored: the square of the model's resolution, or the bucket that fits its shape."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from statistics import fmean

from diffalign.data.media.buckets import Fit, Size, bucket_sizes, cut_off, nearest_size
from diffalign.data.media.clips.frame_rule import FrameRule
from diffalign.data.media.clips.open_clip import open_clip
from diffalign.data.media.decode import image_size
from diffalign.data.records.pair import Media, Pair
from diffalign.data.records.to_sample import ToSample
from diffalign.data.storage.cached_candidate import CachedCandidate
from diffalign.data.storage.kept_latents import KeptLatent
from diffalign.errors import ConfigError
from diffalign.policies.diffusion.config import BucketConfig
from diffalign.policies.diffusion.encoding.encode_media import advice_on_bad_media


class PairSizes:
    """Sizes of pairs. The header of a file is read once.

    Args:
        side: Side of the square, px.
        step: Both sides of a size are multiples of it, px.
        buckets: The settings of buckets; None: every pair has the square.
        medium: ``"image"`` or ``"video"``.
    """

    def __init__(self, side: int, step: int, buckets: BucketConfig | None, medium: str) -> None:
        self.square: Size = (side, side)
        self.sizes = (self.square,) if buckets is None else bucket_sizes(side, step, buckets.widest)
        self._medium, self._shown = medium, dict[Media, tuple[int, int]]()

    def describe(self) -> str:
        """Returns one line for a header."""
        side, _ = self.square
        if len(self.sizes) == 1:
            return f"{side} px"
        (tall, narrow), (low, wide) = self.sizes[0], self.sizes[-1]
        return f"{len(self.sizes)} sizes from {narrow}x{tall} to {wide}x{low} of about {side}x{side} px"

    def of(self, pair: Pair) -> Size:
        """Returns a pair's size.

        Raises:
            ConfigError: A candidate is a latent, whose size is fixed.
            DataError: A candidate cannot be read.
        """
        if len(self.sizes) == 1:
            return self.square
        return nearest_size(self.sizes, [self._size(answer.candidate) for answer in pair.answers.values()])

    def groups(self, pairs: Sequence[Pair]) -> list[list[int]]:
        """Returns the indices of the pairs of each size; one group where all have the same."""
        found = dict[Size, list[int]]()
        for index, pair in enumerate(pairs):
            found.setdefault(self.of(pair), []).append(index)
        return list(found.values())

    def fit(self, pairs: Sequence[Pair]) -> Fit:
        """Returns how pairs fill their sizes."""
        sizes = [self.of(pair) for pair in pairs]
        shown = [[self._size(answer.candidate) for answer in pair.answers.values()] for pair in pairs]
        cropped = [cut_off(one, size) for row, size in zip(shown, sizes, strict=True) for one in row]
        squares = [cut_off(one, self.square) for row in shown for one in row]
        return Fit(dict(Counter(sizes)), fmean(cropped), fmean(squares))

    def _size(self, media: Media) -> tuple[int, int]:
        if isinstance(media, (CachedCandidate, ToSample, KeptLatent)):
            raise ConfigError(
                "model.buckets gives pairs the shape of their files, but candidates that are latents or samples of the "
                "policy are square. Type: --set model.buckets=false"
            )
        if media not in self._shown:
            with advice_on_bad_media():
                video = self._medium == "video"
                self._shown[media] = open_clip(media, FrameRule(frames=1)).size if video else image_size(media)
        return self._shown[media]
