"""Collects facts about every distinct candidate of a data set, each read once.

Facts are small (a digest, a size, a format, an error), so those of a large data set fit in memory where its images
would not. Facts of texts are not stored: computing them again is faster than a lookup.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from diffalign.data.media.clips.clip_facts import ClipFacts, clip_facts
from diffalign.data.media.clips.medium_of import medium_of
from diffalign.data.media.decode import MAX_PIXELS, image_format, image_size, media_bytes, media_digest, open_image
from diffalign.data.records.conversation import Conversation
from diffalign.data.records.pair import Media, Pair
from diffalign.data.storage.frame_files import FrameFiles, is_in_frames
from diffalign.data.storage.hash_set import HashSet
from diffalign.errors import DataError

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Facts:
    """Facts about one candidate.

    Args:
        digest: Hash of the content; empty when it could not be read.
        medium: ``"image"``, ``"video"`` or ``"text"``.
        size: Width and height of an image or of a clip's frames, in pixels.
        length: Bytes of a file, characters of a text.
        format: An image's format by its content, a video's suffix.
        problem: Why it cannot be used; empty when it can.
        clip: Length, rate and movement of a clip; None where it was not decoded.
    """

    digest: str
    medium: str
    size: tuple[int, int] | None = None
    length: int = 0
    format: str = ""
    problem: str = ""
    clip: ClipFacts | None = None


class FactTable:
    """The facts of every candidate, by candidate.

    Args:
        files: Facts of images and videos.
        counts: Number of distinct candidates of each medium.
    """

    def __init__(self, files: Mapping[Media, Facts], counts: Mapping[str, int]) -> None:
        self.files, self.counts = files, counts

    def __getitem__(self, media: Media) -> Facts:
        return inspect_candidate(media) if is_text(media) else self.files[media]

    def __len__(self) -> int:
        return sum(self.counts.values())

    @property
    def noun(self) -> str:
        """The word for a candidate that is a file: ``"clip"`` where all are clips, otherwise ``"image"``."""
        return "clip" if self.counts.get("video") and not self.counts.get("image") else "image"


def collect_facts(
    pairs: Iterable[Pair], *, decode: bool = True, max_pixels: int = MAX_PIXELS, progress: Progress | None = None
) -> FactTable:
    """Inspects every candidate; one that several pairs share is read once.

    Args:
        pairs: The comparisons.
        decode: Decode each image, and every frame of a clip, which alone finds truncated files and movement. Otherwise
            only headers are read.
        max_pixels: Images larger than this cannot be used.
        progress: ``progress(what, done, total)``.
    """
    texts, media_files = HashSet(), dict[Media, None]()
    for pair in pairs:
        for media in candidates_of(pair):
            if is_text(media):
                texts.add(media_digest(media))
            else:
                media_files[media] = None
    facts: dict[Media, Facts] = {}
    for done, media in enumerate(media_files, 1):
        facts[media] = inspect_candidate(media, decode=decode, max_pixels=max_pixels)
        if progress:
            progress("inspecting candidates", done, len(media_files))
    counts = Counter(fact.medium for fact in facts.values())
    return FactTable(facts, {**counts, **({"text": len(texts)} if texts else {})})


def is_text(media: Media) -> bool:
    """Returns whether a candidate is a text, plain or in turns."""
    return isinstance(media, (str, Conversation))


def candidates_of(pair: Pair) -> tuple[Media, ...]:
    """Returns the pair's candidates: two, or one for a single example."""
    return (pair.chosen,) if pair.rejected is None else (pair.chosen, pair.rejected)


def inspect_candidate(media: Media, *, decode: bool = True, max_pixels: int = MAX_PIXELS) -> Facts:
    """Returns the facts of one candidate. Bad data raises no error: the problem is one of the facts."""
    if isinstance(media, (str, Conversation)):
        length = len(media) if isinstance(media, str) else sum(len(turn.content) for turn in media.messages)
        return Facts(media_digest(media), "text", length=length)
    if medium_of(media) == "video":
        return _inspect_clip(media, decode)
    try:
        content = media_bytes(media)
        format, size = image_format(content), image_size(content)
        digest = media_digest(content)
    except DataError as error:
        return Facts("", "image", problem=_message_with_name(media, error))
    problem = ""
    if decode or size[0] * size[1] > max_pixels:
        try:
            open_image(content, max_pixels=max_pixels)
        except DataError as error:
            problem = _message_with_name(media, error)
    return Facts(digest, "image", size, len(content), format, problem)


def _inspect_clip(media: Media, decode: bool) -> Facts:
    """Returns the facts of a clip; without ``decode`` what its bytes tell."""
    suffix = media.suffix[1:].upper() if isinstance(media, Path) and media.is_file() else "frames"
    try:
        digest, length = media_digest(media), len(media_bytes(media)) if not is_in_frames(media) else 0
        clip = clip_facts(media) if decode else None
    except DataError as error:
        return Facts("", "video", problem=_message_with_name(media, error))
    return Facts(digest, "video", clip.size if clip else None, length, suffix if _is_path(media) else "", clip=clip)


def _is_path(media: Media) -> bool:
    return isinstance(media, (Path, FrameFiles))


def _message_with_name(media: Media, error: DataError) -> str:
    """Returns the error message with the candidate's name, which decoded bytes do not have."""
    return str(error) if str(media) in str(error) or isinstance(media, bytes) else f"{media}: {error}"
