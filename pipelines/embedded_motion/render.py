"""Draws clips: one sprite on a coloured ground that moves along a straight line, grows, or stays.

A sprite of 40 px is drawn on a canvas three times as large and averaged down, so that positions between two pixels are
drawn as such; whole steps would teach jerky motion. What a prompt does not say is a `Take`: two clips of one take
differ in nothing but their motion.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from pipelines.embedded import scenes
from pipelines.embedded.art import Art
from pipelines.embedded_motion.motions import DIRECTIONS, FRAMES, Shot

SIZE, OVER = 40, 3
"""Side of a sprite in pixels, and how many times larger the canvas is."""
FREE = scenes.SIDE - SIZE - 1
"""Pixels by which a sprite can move: 23."""
SMALLEST = 0.45
"""Size at which a growing object begins."""


@dataclass(frozen=True)
class Take:
    """What a prompt leaves unsaid.

    Args:
        travel: Share of the free way that an object covers, 0.75 to 1.
        slack: Where its way begins within what is left, 0 to 1; where a still object stands.
        cross: Distance of its way from the middle of the image, in pixels.
        shade: What is added to the ground's colour, per channel.
    """

    travel: float
    slack: float
    cross: float
    shade: tuple[float, float, float]


def take(rng: np.random.Generator) -> Take:
    """Returns a random take."""
    red, green, blue = rng.uniform(-5, 5, 3).tolist()
    return Take(float(rng.uniform(0.75, 1)), float(rng.random()), float(rng.uniform(-6, 6)), (red, green, blue))


def course(motion: str, of: Take) -> np.ndarray:
    """Returns centre x, centre y in pixels and the size as a share, for each frame: ``(FRAMES, 3)``."""
    t = np.linspace(0, 1, FRAMES)
    middle = scenes.SIDE / 2
    if motion not in DIRECTIONS:
        half_way = 0.5 * FREE if motion == "still" else 6.0
        x = np.full(FRAMES, middle + (2 * of.slack - 1) * half_way)
        size = SMALLEST + (1 - SMALLEST) * t if motion == "growing" else np.ones(FRAMES)
        return np.stack([x, np.full(FRAMES, middle + of.cross), size], 1)
    way = of.travel * FREE
    along = -0.5 * FREE + of.slack * (FREE - way) + way * t
    dx, dy = DIRECTIONS[motion]
    return np.stack([middle + dx * along + abs(dy) * of.cross, middle + dy * along + abs(dx) * of.cross, t * 0 + 1], 1)


def load_art(work: Path, packages: Path | None = None) -> Art:
    """Returns the sprites of all subjects at the size of the canvas, rasterised once per work folder."""
    icons = [subject.icon for subject in scenes.SUBJECTS]
    return Art.load(icons, packages or work / "packages", work / "motion_art.npz", (SIZE * OVER,))


def _frame(sprite: Image.Image, x: float, y: float, size: float) -> np.ndarray:
    """Returns the sprite on an empty image, ``(64, 64, 4)`` float32 with premultiplied alpha."""
    back, half = 1 / size, SIZE * OVER / 2
    matrix = (back, 0, half - back * x * OVER, 0, back, half - back * y * OVER)
    side = scenes.SIDE * OVER
    drawn = sprite.transform((side, side), Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR)
    cells = np.asarray(drawn, np.float32).reshape(scenes.SIDE, OVER, scenes.SIDE, OVER, 4)
    return cells.mean((1, 3))


def render(shot: Shot, art: Art, of: Take) -> np.ndarray:
    """Returns the frames of a shot, ``(FRAMES, 64, 64, 3)`` uint8."""
    icon = scenes.BY_WORD[shot.scene.subject].icon
    sprite = Image.fromarray(art.sprites[str(shot.scene.style), icon, SIZE * OVER]).convert("RGBa")
    colour = np.array(scenes.BACKGROUNDS[str(shot.scene.background)], np.float32) + np.array(of.shade, np.float32)
    ground = np.clip(colour, 0, 255)
    layers = np.stack([_frame(sprite, *place) for place in course(shot.motion, of).tolist()])
    return (layers[..., :3] + (1 - layers[..., 3:] / 255) * ground).round().clip(0, 255).astype(np.uint8)
