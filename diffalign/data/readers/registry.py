"""The registry of formats: each one's name, the columns by which it is detected, and the function that reads it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from diffalign.data.readers.formats import (
    captioned,
    implicit_prompt,
    pair_folder,
    pickapic,
    ranked_answers,
    step_pairs,
    trl,
    two_sides,
    unpaired,
)
from diffalign.data.readers.formats.clips import genai_bench, mj_video, videoalign, videodpo, videofeedback
from diffalign.data.records.pair import Dropped, Pair
from diffalign.errors import ConfigError
from diffalign.register_row import register_row


@dataclass(frozen=True)
class Reader:
    """A format that can be read.

    Args:
        name: The name in recipes and on the command line.
        read: ``read(tables, **options)``, yields a pair or a dropped row for each row.
        required: The columns by which it is detected.
        summary: One line for the documentation and the command line.
        aliases: ``{required column: accepted other names}``.
        unless: Columns with which the format is ambiguous: it is then read only when the user names it.
        holds: The kinds of candidates: ``"text"``, ``"file"``, ``"bytes"``.
        doubt: What such a ``{column}`` may mean, and what to do; a clause of the error message.
    """

    name: str
    read: Callable[..., Iterator[Pair | Dropped]]
    required: tuple[str, ...]
    summary: str
    aliases: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    unless: tuple[str, ...] = ()
    doubt: str = ""
    holds: tuple[str, ...] = ("text", "file", "bytes")

    def needed(self, columns: Sequence[str]) -> list[str]:
        """Returns the required columns, each by its name in ``columns``, or by its first name where it is missing."""
        accepted = [(name, *self.aliases.get(name, ())) for name in self.required]
        return [next((name for name in names if name in columns), names[0]) for names in accepted]

    def options(self) -> list[str]:
        """Returns the names of the options of ``read``."""
        parameters = inspect.signature(self.read).parameters.values()
        return [parameter.name for parameter in parameters if parameter.kind is parameter.KEYWORD_ONLY]


_ENTRIES = (
    Reader(
        "pickapic",
        pickapic.read_pickapic,
        pickapic.REQUIRED,
        "Pick-a-Pic: two images as bytes, a caption and a vote",
        holds=("bytes",),
    ),
    Reader(
        "pair_folder",
        pair_folder.read_pair_folder,
        pair_folder.REQUIRED,
        "files, and metadata that names two per prompt",
        holds=("file",),
    ),
    Reader(
        "steps",
        step_pairs.read_steps,
        step_pairs.REQUIRED,
        "two ways to take the next step of a solution, after the steps so far",
        step_pairs.ALIASES,
        holds=("text",),
    ),
    Reader(
        "trl",
        trl.read_trl,
        trl.REQUIRED,
        "TRL's prompt, chosen and rejected: texts, messages, file names or bytes",
        trl.ALIASES,
    ),
    Reader(
        "videodpo",
        videodpo.read_videodpo,
        videodpo.REQUIRED,
        "VideoDPO's pair.json, whose numbers point into metadata.json",
        videodpo.ALIASES,
        holds=("file",),
    ),
    Reader(
        "videofeedback",
        videofeedback.read_videofeedback,
        videofeedback.REQUIRED,
        "VideoFeedback: clips as frames with five marks each, paired by prompt",
        holds=("file",),
    ),
    Reader(
        "videoalign",
        videoalign.read_videoalign,
        videoalign.REQUIRED,
        "VideoAlign: two videos and votes on visual quality, motion and text",
        holds=("file",),
    ),
    Reader(
        "genai_bench",
        genai_bench.read_genai_bench,
        genai_bench.REQUIRED,
        "GenAI-Bench: two videos and a vote, which may say that both are bad",
        holds=("file", "bytes"),
    ),
    Reader(
        "genai_bench_frames",
        genai_bench.read_genai_bench_frames,
        genai_bench.FRAMES_REQUIRED,
        "GenAI-Bench as frames: two rows a vote, one for each side",
        holds=("file",),
    ),
    Reader(
        "mj_video",
        mj_video.read_mj_video,
        mj_video.REQUIRED,
        "MJ-Bench-Video: two videos and preferences overall and by category",
        holds=("file",),
    ),
    Reader(
        "two_sides",
        two_sides.read_two_sides,
        two_sides.REQUIRED,
        "two answers or images, and which of them won",
        two_sides.ALIASES,
    ),
    Reader(
        "ranked",
        ranked_answers.read_ranked,
        ranked_answers.REQUIRED,
        "several answers per prompt with their scores: texts, messages, file names or bytes",
        ranked_answers.ALIASES,
    ),
    Reader(
        "unpaired",
        unpaired.read_unpaired,
        unpaired.REQUIRED,
        "TRL's answers that were judged one by one",
        holds=("text",),
    ),
    Reader(
        "implicit",
        implicit_prompt.read_implicit,
        implicit_prompt.REQUIRED,
        "texts or messages with the prompt inside, as HH-RLHF writes them",
        unless=implicit_prompt.UNLESS,
        holds=("text",),
        doubt="may hold the prompt. If so, give columns={{'prompt': '{column}'}}; if chosen and rejected repeat the "
        "prompt, give format implicit",
    ),
    Reader(
        "captioned",
        captioned.read_captioned,
        captioned.REQUIRED,
        "winners only: images with their prompts",
        captioned.ALIASES,
        captioned.UNLESS,
        "may mark rows that are not winners. Keep the winners only, or give format captioned if all rows are winners",
        ("file", "bytes"),
    ),
)
READERS: dict[str, Reader] = {entry.name: entry for entry in _ENTRIES}


_BUILT_IN = frozenset([*READERS, "auto"])


def register_reader(reader: Reader, *, replace: bool = False) -> Reader:
    """Adds a format from outside the package: ``data.format`` may name it, and its columns detect it.

    Args:
        reader: Its name, its columns and the function that reads it.
        replace: Whether it takes the place of a format of that name that was registered before.

    Returns:
        The reader.

    Raises:
        ConfigError: The name is taken, or the reader is none.
    """
    if not isinstance(reader, Reader):
        raise ConfigError(f"a format is registered as a reader, diffalign.Reader(name, read, ...); got {reader!r}.")
    register_row("format", READERS, reader.name, reader, built_in=_BUILT_IN, replace=replace)
    return reader
