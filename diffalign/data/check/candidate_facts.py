"""The survey: every distinct candidate of a data set is looked at once, and what was seen is kept as facts.

Facts are small (a digest, a size, a format, an error), so a survey of a large data set fits in memory where its
images would not. Those of a text are not even kept: they are made again faster than they are found.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from diffalign.data.media.decode import MAX_PIXELS, image_format, image_size, media_bytes, media_digest, open_image
from diffalign.data.records.conversation import Conversation
from diffalign.data.records.pair import Media, Pair
from diffalign.data.storage.hash_set import HashSet
from diffalign.errors import DataError

Progress = Callable[[str, int, int], None]
VIDEO_SUFFIXES = frozenset((".mp4", ".webm", ".mov", ".mkv", ".avi", ".m4v"))


@dataclass(frozen=True)
class Facts:
    """What one candidate is.

    Args:
        digest: Of its content; empty when it could not be read.
        kind: ``"image"``, ``"clip"`` or ``"text"``.
        size: Width and height of an image, in pixels.
        length: Bytes of a file, characters of a text.
        format: An image's format by its content, a clip's suffix.
        problem: Why it cannot be used; empty when it can.
    """

    digest: str
    kind: str
    size: tuple[int, int] | None = None
    length: int = 0
    format: str = ""
    problem: str = ""


class FactTable:
    """The facts of every candidate, by candidate.

    Args:
        kept: Those of images and clips.
        kinds: How many distinct candidates there are of each kind.
    """

    def __init__(self, kept: Mapping[Media, Facts], kinds: Mapping[str, int]) -> None:
        self.kept, self.kinds = kept, kinds

    def __getitem__(self, media: Media) -> Facts:
        return inspect_candidate(media) if is_text(media) else self.kept[media]

    def __len__(self) -> int:
        return sum(self.kinds.values())


def collect_facts(
    pairs: Iterable[Pair], *, decode: bool = True, max_pixels: int = MAX_PIXELS, progress: Progress | None = None
) -> FactTable:
    """Looks at every candidate; at one that several pairs share, once.

    Args:
        pairs: The comparisons.
        decode: Decode each image in full: only this finds truncated files. Without it, headers are read.
        max_pixels: Images larger than this cannot be used.
        progress: ``progress(what, done, total)``.
    """
    texts, others = HashSet(), dict[Media, None]()
    for pair in pairs:
        for media in candidates_of(pair):
            if is_text(media):
                texts.add(media_digest(media))
            else:
                others[media] = None
    facts: dict[Media, Facts] = {}
    for done, media in enumerate(others, 1):
        facts[media] = inspect_candidate(media, decode=decode, max_pixels=max_pixels)
        if progress:
            progress("looking at candidates", done, len(others))
    kinds = Counter(fact.kind for fact in facts.values())
    return FactTable(facts, {**kinds, **({"text": len(texts)} if texts else {})})


def is_text(media: Media) -> bool:
    """Whether a candidate is a text, plain or in turns."""
    return isinstance(media, (str, Conversation))


def candidates_of(pair: Pair) -> tuple[Media, ...]:
    """The pair's candidates: two, or one where there is only a winner."""
    return (pair.chosen,) if pair.rejected is None else (pair.chosen, pair.rejected)


def inspect_candidate(media: Media, *, decode: bool = True, max_pixels: int = MAX_PIXELS) -> Facts:
    """The facts of one candidate. Never raises for bad data: the problem is one of the facts."""
    if isinstance(media, (str, Conversation)):
        length = len(media) if isinstance(media, str) else sum(len(turn.content) for turn in media.messages)
        return Facts(media_digest(media), "text", length=length)
    suffix = media.suffix.lower() if isinstance(media, Path) else ""
    if suffix in VIDEO_SUFFIXES:
        return _clip(media, suffix)
    try:
        content = media_bytes(media)
        name, size = image_format(content), image_size(content)
        digest = media_digest(content)
    except DataError as error:
        return Facts("", "image", problem=_named(media, error))
    problem = ""
    if decode or size[0] * size[1] > max_pixels:
        try:
            open_image(content, max_pixels=max_pixels)
        except DataError as error:
            problem = _named(media, error)
    return Facts(digest, "image", size, len(content), name, problem)


def _clip(media: Media, suffix: str) -> Facts:
    """A clip is not decoded here: that needs an optional package."""
    try:
        content = media_bytes(media)
    except DataError as error:
        return Facts("", "clip", problem=str(error))
    return Facts(
        media_digest(content),
        "clip",
        length=len(content),
        format=suffix[1:].upper(),
        problem="" if content else "empty file",
    )


def _named(media: Media, error: DataError) -> str:
    """The message, with the candidate's own name: the bytes that were decoded have none."""
    return str(error) if str(media) in str(error) or isinstance(media, bytes) else f"{media}: {error}"
