"""Clips of the embedded video model: their motions, prompts and the combinations that are held out.

A *shot* is a scene of one object whose style and background are said, and its motion:
``a noto drawing of a fox on a blue background, leftwards``. `Shot.prompt` and `parse` are inverse to each other.

`held_out` keeps about 12 % of the (subject, motion) combinations out of every training by a hash, so prompts for them
measure whether a motion is understood apart from the things that it was seen with.
"""

import hashlib
from dataclasses import dataclass, replace

import numpy as np

from pipelines.embedded import scenes

FRAMES, FPS = 8, 8.0
MOTIONS = ("leftwards", "rightwards", "upwards", "downwards", "growing", "still")
DIRECTIONS = {"leftwards": (-1, 0), "rightwards": (1, 0), "upwards": (0, -1), "downwards": (0, 1)}
"""Unit vectors (x, y) of the motions that go somewhere; y grows downwards, as rows of pixels do."""
OPPOSITES = {"leftwards": "rightwards", "rightwards": "leftwards", "upwards": "downwards", "downwards": "upwards"}


@dataclass(frozen=True)
class Shot:
    """A scene of one object, and how the object moves."""

    scene: scenes.Scene
    motion: str

    @property
    def prompt(self) -> str:
        """ "one flat fox on a blue background, growing"."""
        return f"{self.scene.prompt}, {self.motion}"


def parse(prompt: str) -> Shot:
    """Returns the shot of a prompt; raises `ValueError` for a sentence outside the grammar."""
    head, _, motion = prompt.rpartition(", ")
    if motion not in MOTIONS:
        raise ValueError(f"names no motion at its end ({', '.join(MOTIONS)}): {prompt!r}")
    scene = scenes.parse(head)
    if scene.count != 1 or scene.place or not scene.style or not scene.background:
        raise ValueError(f"a clip shows one object of a stated style on a stated background, without place: {prompt!r}")
    return Shot(scene, motion)


def held_out(subject: str, motion: str) -> bool:
    """Returns whether this combination is held out for measurements."""
    digest = hashlib.sha256(f"{subject}|{motion}".encode()).digest()
    return int.from_bytes(digest[:4], "big") % 100 < 12


def draw(rng: np.random.Generator, *, holdout: bool = False) -> Shot:
    """Returns a random shot from the training or the held-out combinations.

    Its subject and background are a combination that the image model saw, so what is measured is the motion.
    """
    while True:
        scene, motion = scenes.draw(rng), str(rng.choice(MOTIONS))
        seen = not scenes.held_out(scene.subject, str(scene.background), 1)
        if seen and held_out(scene.subject, motion) == holdout:
            return Shot(replace(scene, count=1, place=None), motion)


def another(motion: str, rng: np.random.Generator) -> str:
    """Returns another motion: three times of four the opposite one, where there is one; so half of the times in all."""
    if motion in OPPOSITES and rng.random() < 0.75:
        return OPPOSITES[motion]
    return str(rng.choice([name for name in MOTIONS if name not in (motion, OPPOSITES.get(motion))]))
