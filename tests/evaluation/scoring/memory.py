"""A child process that prints how a pass raises its memory: ``python -m tests.evaluation.scoring.memory FOLDER``.

A process of its own, because in one that ran other tests the allocator's free pages hide or add megabytes.
"""

import os
import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from diffalign.evaluation.scoring.score_samples import score_samples
from diffalign.evaluation.scoring.sources import open_samples
from diffalign.scorers import SCORERS, ScorerEntry
from tests.data.memory import peak
from tests.evaluation.fakes import Redness


class Corner(Redness):
    """The red of the first pixel: cheap, for many images."""

    reads_prompt = False

    def score(self, prompts, images):
        return torch.tensor([np.asarray(image)[0, 0, 0] / 255 for image in images], dtype=torch.float32)


def growth(folder, count):
    """Returns by how much a pass over ``count`` links to one image of 64 x 64 pixels raised the peak, in bytes."""
    folder.mkdir()
    Image.new("RGB", (64, 64), "red").save(folder / "0.png")
    for number in range(1, count):
        os.link(folder / "0.png", folder / f"{number}.png")
    lines = (f'{{"file_name": "{number}.png", "prompt": "a fox number {number}"}}\n' for number in range(count))
    (folder / "metadata.jsonl").write_text("".join(lines))
    samples = open_samples(folder)
    Path("/proc/self/clear_refs").write_text("5")  # the peak becomes the present size
    before = peak()
    score_samples(samples, ["corner"], batch=16)
    return peak() - before


def main(folder):
    SCORERS["corner"] = ScorerEntry(lambda *_: Corner(), "nothing", "a fake")
    growth(Path(folder) / "few", 200)
    print(growth(Path(folder) / "many", 10_000))


if __name__ == "__main__":
    main(sys.argv[1])
