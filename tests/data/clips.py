"""Clips for tests: seeded frames, and files of them in every container."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from diffalign.data.media.clips.clip import Clip

EXACT = {"libx264rgb": {"qp": "0"}, "ffv1": {}, "libvpx-vp9": {"lossless": "1"}}


def noise(frames: int = 8, width: int = 32, height: int = 24, seed: int = 0, fps: float = 8.0) -> Clip:
    random = np.random.default_rng(seed)
    return Clip(random.integers(0, 256, (frames, height, width, 3), dtype=np.uint8), fps)


def numbered(frames: int, width: int = 32, height: int = 24, fps: float = 8.0) -> Clip:
    """Frame k is of one grey, from which :func:`numbers` reads k: up to 256 frames."""
    greys = np.arange(frames, dtype=np.uint8)[:, None, None, None]
    return Clip(np.broadcast_to(greys, (frames, height, width, 3)).copy(), fps)


def numbers(clip: Clip) -> list[int]:
    return [int(frame[0, 0, 0]) for frame in clip.frames]


def moving(frames: int = 8, step: int = 2, size: int = 32, ground: int = 40, fps: float = 8.0) -> Clip:
    """A red square that moves ``step`` pixels a frame to the right."""
    out = np.full((frames, size, size, 3), ground, dtype=np.uint8)
    for k in range(frames):
        left = 2 + (k * step) % (size - 10)
        out[k, 10:18, left : left + 8] = (230, 60, 60)
    return Clip(out, fps)


def write_video(
    path: Path,
    clip: Clip,
    codec: str = "libx264rgb",
    pixels: str = "rgb24",
    times: list[float] | None = None,
    aspect: int | None = None,
    **options: str,
) -> Path:
    """Writes a clip, without loss where the codec can; ``times`` in seconds for a variable rate."""
    with av.open(str(path), "w") as out:
        stream = out.add_stream(codec, rate=Fraction(clip.fps).limit_denominator(1001))
        stream.width, stream.height = clip.size
        stream.pix_fmt = pixels
        stream.options = {**EXACT.get(codec, {}), **options}
        if aspect is not None:
            stream.codec_context.sample_aspect_ratio = Fraction(aspect)
        if times is not None:
            stream.codec_context.time_base = Fraction(1, 1000)
        for k, pixels_of in enumerate(clip.frames):
            frame = av.VideoFrame.from_ndarray(pixels_of, "rgb24")
            if times is not None:
                frame.pts, frame.time_base = round(times[k] * 1000), Fraction(1, 1000)
            out.mux(stream.encode(frame))
        out.mux(stream.encode())
    return path


def write_sound(path: Path) -> Path:
    with av.open(str(path), "w") as out:
        stream = out.add_stream("pcm_s16le", rate=8000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 4000), np.int16), format="s16", layout="mono")
        frame.sample_rate = 8000
        out.mux(stream.encode(frame))
        out.mux(stream.encode())
    return path


def turn_header(path: Path) -> Path:
    """Marks an mp4 file as to be shown a quarter turn clockwise, as phones write it."""
    data = bytearray(path.read_bytes())
    at = data.index(b"tkhd") + 4 + 40
    matrix = [0, 1 << 16, 0, -(1 << 16), 0, 0, 0, 0, 1 << 30]
    data[at : at + 36] = b"".join(value.to_bytes(4, "big", signed=True) for value in matrix)
    path.write_bytes(bytes(data))
    return path
