"""Decodes videos with PyAV (FFmpeg inside its wheel), keeping only the frames that a rule chooses.

The rule sees the times of the file's packets, so a long video is decoded once and only as far as its last chosen frame,
from the key frame before the first. Each kept frame is then recognised by its own time: where packets and frames
disagree, the frames are right and are counted first. Headers are not trusted: neither rate nor number of frames.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import IO, Any

import numpy as np

from diffalign.data.media.clips import limits
from diffalign.data.media.clips.clip import Clip
from diffalign.data.media.clips.frame_pixels import frame_pixels, shown_size
from diffalign.data.media.clips.frame_rule import FrameRule, end_of, native_fps
from diffalign.data.media.clips.video_file import decoder_of, open_video, packet_times, refuse_truncated

SEEK_BEYOND = 10.0
"""Seconds before the first chosen frame from which seeking is worth its cost."""
SAME_TIME = 1e-4
"""Seconds by which the times of a packet and of its frame may differ."""


def decode_video(stream: IO[bytes], name: str, rule: FrameRule | None, side: int | None = None) -> Clip:
    """Decodes a video.

    Raises:
        DataError: No video, damaged, truncated, too large, too long, too short for the rule, or one picture only.
    """
    with open_video(stream, name) as (container, video):
        times, end, last_of_all = packet_times(container, video, name)
        refuse_truncated(container, last_of_all, name)
        clip = _decode(container, video, name, rule, side, times, end) if times else None
        if clip is None:
            times, end = _frame_times(container, video, name)
            clip = _decode(container, video, name, rule, side, times, end)
        if clip is None:
            raise limits.unreadable(name, "its frames have no times")
        return clip


def _decode(
    container: Any,
    video: Any,
    name: str,
    rule: FrameRule | None,
    side: int | None,
    times: Sequence[float],
    end: float,
) -> Clip | None:
    """Decodes the frames that a rule chooses by ``times``; None where the file has no frame at one of them."""
    limits.refuse_still(name, rule, len(times))
    limits.refuse_seconds(name, end - times[0])
    chosen, fps = list(range(len(times))), native_fps(times, end)
    if rule is not None:
        chosen, fps = rule.choose(times, end), rule.result_fps(times, end)
        limits.refuse_short(name, rule, len(chosen), len(times), end - times[0])
    places = {index: place for place, index in enumerate(dict.fromkeys(chosen))}
    frames = _frames(container, video, name, times[chosen[0]])
    kept = _keep(frames, name, [times[index] for index in places], side, video.sample_aspect_ratio)
    if kept is None:
        return None
    if len(places) == len(chosen):
        return Clip(kept, fps)
    return Clip(kept[[places[index] for index in chosen]], fps)


def _keep(
    frames: Iterator[tuple[float, Any]], name: str, wanted: Sequence[float], side: int | None, aspect: Any
) -> np.ndarray | None:
    """Returns the frames at the wanted times, ascending; None where one of them is missing."""
    kept: np.ndarray | None = None
    found = 0
    for time, frame in frames:
        if time < wanted[found] - SAME_TIME:
            continue
        if time > wanted[found] + SAME_TIME:
            return None
        if kept is None:
            width, height = limits.reduced_size(*shown_size(frame, aspect), side)
            limits.refuse_bytes(name, len(wanted), width, height)
            kept = np.empty((len(wanted), height, width, 3), dtype=np.uint8)
        kept[found] = frame_pixels(frame, (kept.shape[2], kept.shape[1]))
        found += 1
        if found == len(wanted):
            return kept
    return None


def _frame_times(container: Any, video: Any, name: str) -> tuple[list[float], float]:
    """Returns the times of all frames by decoding them, and the end."""
    times: list[float] = []
    duration = None
    for time, frame in _frames(container, video, name, 0.0):
        times.append(time)
        duration = getattr(frame, "duration", None)
    if not times:
        raise limits.unreadable(name, "it has no frame that can be decoded")
    return times, end_of(times, float(duration * video.time_base) if duration else None)


def _frames(container: Any, video: Any, name: str, first: float) -> Iterator[tuple[float, Any]]:
    """Yields the decoded frames that have a time, with it, from the key frame before ``first`` seconds.

    The time is by the stream's own base: the last frames, which a decoder gives up at the end, can come without one.
    """
    begin = video.start_time or 0
    seek = first - float(begin * video.time_base) > SEEK_BEYOND
    container.seek(int(first / video.time_base) if seek else begin, stream=video, backward=True)
    decoder, count = decoder_of(video), 0
    packets = container.demux(video)
    for packet in packets:
        for frame in decoder.decode(packet) if packet.size else decoder.decode(None):
            count += 1
            limits.refuse_count(name, count)
            limits.refuse_size(name, frame.width, frame.height)
            time = None if frame.pts is None else float(frame.pts * video.time_base)
            if frame.is_corrupt and not (seek and (time or 0.0) < first - SAME_TIME):
                raise limits.unreadable(name, f"frame {count} is damaged")
            if time is not None:
                yield time, frame
