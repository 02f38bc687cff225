"""The samples of a gallery, by prompt."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diffalign.data.media.decode import media_digest
from diffalign.evaluation.samples.gallery import Gallery


@dataclass(frozen=True)
class PromptSamples:
    """The samples of a prompt.

    Args:
        prompt: The prompt.
        numbers: Their places in the gallery.
        seeds: Their seeds.
        contents: Texts, or files of images or clips.
    """

    prompt: str
    numbers: tuple[int, ...]
    seeds: tuple[int, ...]
    contents: tuple[Any, ...]

    @property
    def key(self) -> str:
        """A digest of the prompt and the seeds."""
        return hashlib.blake2b(f"{list(self.seeds)} {self.prompt}".encode(), digest_size=12).hexdigest()

    @property
    def groups(self) -> tuple[int, ...]:
        """A number per sample, equal for samples that are equal byte by byte."""
        contents = [media_digest(one) if isinstance(one, Path) else one for one in self.contents]
        return tuple(map(contents.index, contents))


def samples_by_prompt(gallery: Gallery) -> list[PromptSamples]:
    """Returns the samples of each prompt, in the order of the gallery."""
    places: dict[str, list[int]] = {}
    for number, sample in enumerate(gallery.samples):
        places.setdefault(sample.prompt, []).append(number)
    contents = gallery.contents()
    return [
        PromptSamples(
            prompt,
            tuple(numbers),
            tuple(gallery.samples[number].seed for number in numbers),
            tuple(contents[number] for number in numbers),
        )
        for prompt, numbers in places.items()
    ]
