"""Opens a video file as untrusted input, and reads the times of its packets without decoding them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any

from diffalign.data.media.clips import limits
from diffalign.data.media.clips.frame_rule import end_of
from diffalign.errors import DataError

CONTAINERS = "matroska,webm,mov,mp4,avi,mpeg,mpegts,flv,ogg,asf"
"""Formats that hold their frames themselves: a playlist would make FFmpeg open other files or addresses."""
COMPLETE = 0.9
"""A file whose last frame lies before this share of the duration that it states is truncated."""
_ALPHA_DECODERS = {"vp9": "libvpx-vp9", "vp8": "libvpx"}


@contextmanager
def open_video(stream: IO[bytes], name: str) -> Iterator[tuple[Any, Any]]:
    """Yields the container and its video stream. Any error of FFmpeg inside the block becomes a DataError."""
    import av
    from av.error import FFmpegError

    try:
        with av.open(stream, options={"format_whitelist": CONTAINERS}) as container:
            yield container, _video_stream(container, name)
    except DataError:
        raise
    except Exception as error:  # on damaged files PyAV raises FFmpegError, and errors of Python from what follows
        reason = error.strerror if isinstance(error, FFmpegError) and error.strerror else str(error)
        raise limits.unreadable(name, reason or type(error).__name__) from error


def _video_stream(container: Any, name: str) -> Any:
    streams = [stream for stream in container.streams.video if not _is_cover(stream)]
    if not streams:
        if container.streams.audio:
            raise limits.unreadable(name, "it holds sound and no frames")
        raise limits.unreadable(name, "it holds no frames, as a file that was cut off")
    video = streams[0]
    limits.refuse_size(name, video.codec_context.width or 0, video.codec_context.height or 0)
    if container.duration:
        limits.refuse_seconds(name, container.duration / 1e6)
    video.thread_type = "AUTO"
    return video


def _is_cover(stream: Any) -> bool:
    """Whether a stream is the picture of an album, which sound files carry."""
    from av.stream import Disposition

    return bool(stream.disposition & Disposition.attached_pic)


def packet_times(container: Any, video: Any, name: str) -> tuple[list[float], float, float]:
    """Returns the times of the video's packets in ascending order, its end, and the end of the last stream.

    No times are returned where a packet has none.
    """
    times: list[tuple[float, float]] = []
    last_of_all, timeless = 0.0, False
    for packet in container.demux():
        if not packet.size or packet.time_base is None or packet.is_discard:
            continue
        duration = float((packet.duration or 0) * packet.time_base)
        time = None if packet.pts is None else float(packet.pts * packet.time_base)
        last_of_all = last_of_all if time is None else max(last_of_all, time + duration)
        if packet.stream is video:
            timeless = timeless or time is None
            times.append((time or 0.0, duration))
            limits.refuse_count(name, len(times))
    if timeless or not times:
        return [], 0.0, last_of_all
    times.sort()
    seconds = [time for time, _ in times]
    return seconds, end_of(seconds, times[-1][1]), last_of_all


def refuse_truncated(container: Any, last: float, name: str) -> None:
    """Raises DataError where a file ends long before the duration that it states."""
    if container.duration and (stated := container.duration / 1e6) and last:
        begin = (container.start_time or 0) / 1e6
        if last - begin < COMPLETE * stated - 0.05:
            raise limits.unreadable(name, f"it was cut off: {last - begin:.1f} of {stated:.1f} seconds are there")


def decoder_of(video: Any) -> Any:
    """Returns a fresh decoder: of VP8 and VP9 with transparency one that keeps it, which the default one does not."""
    import av

    metadata = {key.lower(): value for key, value in video.metadata.items()}
    library = _ALPHA_DECODERS.get(video.codec_context.name)
    if library and metadata.get("alpha_mode") == "1":
        decoder: Any = av.CodecContext.create(library, "r")
        decoder.extradata = video.codec_context.extradata
        return decoder
    return video
