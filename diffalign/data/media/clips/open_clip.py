"""Opens a clip, whatever holds it: a video, an animated picture, a folder of frames, or a handle of any of these."""

from __future__ import annotations

import io
from pathlib import Path
from typing import IO

from PIL import Image

from diffalign.data.media.clips import limits
from diffalign.data.media.clips.clip import Clip
from diffalign.data.media.clips.decode_animation import decode_animation
from diffalign.data.media.clips.decode_frames import decode_frames
from diffalign.data.media.clips.decode_video import decode_video
from diffalign.data.media.clips.frame_rule import FrameRule
from diffalign.data.media.decode import media_bytes, media_name
from diffalign.data.records.conversation import Conversation
from diffalign.data.records.pair import Media
from diffalign.data.storage.frame_files import FrameFiles, frames_of
from diffalign.errors import DataError

_HEAD = 64


def open_clip(media: Media, rule: FrameRule | None = None, *, side: int | None = None) -> Clip:
    """Decodes a clip to 8-bit RGB as a viewer would show it.

    Rotation is applied, transparency is laid on white, and times decide which frames are seen. What the content is
    counts, not the ending of its name.

    Args:
        media: A path of a video (mp4, webm, mov, mkv, avi, ...), of an animated WebP, GIF or PNG, or of a folder with
            one picture per frame; encoded bytes; or a handle.
        rule: Which frames are taken; None for all.
        side: Reduce each frame while decoding, so that its short side has at most this many pixels; None: as it is.

    Returns:
        A clip of ``rule.frames`` frames, of all of them without a rule. Frames that an animation merged are there
        again. Never more frames are held than are returned.

    Raises:
        DataError: Not a clip, damaged, truncated, too large, too long, too short for the rule, or one picture only; the
            message names the file.
    """
    if isinstance(media, (str, Conversation)):
        raise DataError(f"a clip was expected, as a path or as bytes; got the text {media_name(media)}.")
    if isinstance(media, Path) and media.is_dir():
        media = frames_of(media)
    if isinstance(media, FrameFiles):
        return decode_frames(media, rule, side)
    name = f"a clip of {len(media):,} bytes" if isinstance(media, bytes) else media_name(media)
    try:
        with media.open("rb") if isinstance(media, Path) else io.BytesIO(media_bytes(media)) as stream:
            return _decode(stream, name, rule, side)
    except DataError:
        raise
    except FileNotFoundError as error:
        raise DataError(f"there is no file {name}.") from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise DataError(f"{name} is refused: {error} Make its frames smaller.") from error
    except Exception as error:  # decoders raise exceptions of any type on damaged files
        raise limits.unreadable(name, str(error) or type(error).__name__) from error


def _decode(stream: IO[bytes], name: str, rule: FrameRule | None, side: int | None) -> Clip:
    head = stream.read(_HEAD)
    stream.seek(0)
    if not head:
        raise limits.unreadable(name, "it is empty")
    decode = decode_animation if is_picture(head) else decode_video
    return decode(stream, name, rule, side)


def is_picture(head: bytes) -> bool:
    """Returns whether a file is a picture or an animation that Pillow reads, by its first bytes."""
    if head[:4] == b"RIFF":
        return head[8:12] == b"WEBP"
    if head[4:8] == b"ftyp":
        return head[8:12] in (b"avif", b"avis", b"mif1", b"msf1")
    return head.startswith((b"GIF8", b"\x89PNG", b"\xff\xd8\xff"))
