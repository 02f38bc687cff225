"""Finds what is wrong with a candidate before a model meets it, by decoding an image, and the frames of a clip."""

from __future__ import annotations

from PIL import Image

from diffalign.data.media.clips.clip import Clip
from diffalign.data.media.clips.clip_facts import SIDE
from diffalign.data.media.clips.frame_rule import FrameRule
from diffalign.data.media.clips.medium_of import medium_of
from diffalign.data.media.clips.open_clip import open_clip
from diffalign.data.media.decode import open_image
from diffalign.data.records.conversation import Conversation
from diffalign.data.records.pair import Media
from diffalign.data.records.to_sample import ToSample
from diffalign.data.storage.cached_candidate import CachedCandidate
from diffalign.data.storage.kept_latents import KeptLatent
from diffalign.errors import DataError


def find_problem(media: Media, rule: FrameRule | None = None) -> str:
    """Returns why a candidate cannot be decoded, as a sentence; ``""`` for a sound one, for a text and for tensors.

    Args:
        media: The candidate.
        rule: As for :func:`decode_candidate`.
    """
    try:
        decode_candidate(media, rule)
    except DataError as error:
        return str(error)
    return ""


def decode_candidate(media: Media, rule: FrameRule | None = None) -> Image.Image | Clip | None:
    """Decodes an image, or a clip at a reduced size; returns None for a text and for tensors.

    Args:
        media: The candidate.
        rule: Which frames of a clip are taken; a clip that is too short for it has a problem, and so has an image. None
            where no clips are needed.

    Raises:
        DataError: It cannot be decoded.
    """
    if isinstance(media, (str, Conversation, CachedCandidate, KeptLatent, ToSample)):
        return None
    if rule is not None or medium_of(media) == "video":
        return open_clip(media, rule, side=SIDE)
    return open_image(media)
