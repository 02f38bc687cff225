"""Utilities of the trainings: rendered scenes on disk, resumable checkpoints, a clock, learning rates, images."""

import math
import os
import time
from pathlib import Path

import numpy as np

from diffalign.files.json_lines import numbered_lines, parse_json, write_json_lines
from pipelines.embedded import scenes
from pipelines.embedded.art import Art


def load_art(work: Path, packages: Path | None = None) -> Art:
    """Returns the sprites of all subjects, rasterised once per work folder."""
    return Art.load([s.icon for s in scenes.SUBJECTS], packages or work / "packages", work / "art.npz")


def rendered(work: Path, art: Art, name: str, count: int, seed: int) -> tuple[np.ndarray, list[scenes.Scene]]:
    """Returns the first `count` training scenes, rendered once: images ``(N, 64, 64, 3)`` uint8 and the scenes."""
    image_file, scene_file = work / f"{name}.npy", work / f"{name}.jsonl"
    if not scene_file.exists():
        rng = np.random.default_rng(seed)
        shape = (count, scenes.SIDE, scenes.SIDE, 3)
        images = np.lib.format.open_memmap(image_file, "w+", np.uint8, shape)
        drawn = [scenes.draw(rng) for _ in range(count)]
        for i, scene in enumerate(drawn):
            images[i] = scenes.render(scene, art, rng)
        images.flush()
        write_json_lines(scene_file, map(vars, drawn))
    drawn = [scenes.Scene(**parse_json(line)) for _, line in numbered_lines(scene_file)]
    return np.load(image_file, mmap_mode="r")[:count], drawn[:count]


def write_atomically(path: Path, write) -> None:
    """Calls ``write(temporary)`` and renames the result to `path`, so that a kill leaves the old or the new file."""
    temporary = path.with_name(path.name + ".part")
    write(temporary)
    os.replace(temporary, path)


def save_arrays(path: Path, **arrays: np.ndarray) -> None:
    """Writes an uncompressed .npz atomically."""

    def write(temporary: Path) -> None:
        with temporary.open("wb") as file:
            np.savez(file, **arrays)  # type: ignore[arg-type]  # no name is allow_pickle

    write_atomically(path, write)


def save_checkpoint(path: Path, **state) -> None:
    """Writes a training state that `load_checkpoint` reads."""
    import torch

    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, lambda temporary: torch.save(state, temporary))


def load_checkpoint(path: Path) -> dict | None:
    """Reads the last training state; None at the first start."""
    import torch

    return torch.load(path, map_location="cpu", weights_only=False) if path.exists() else None


class TrainingClock:
    """Counts a training's seconds over restarts, and says when its state is to be saved.

    Args:
        minutes: Length of the training.
        spent: Seconds of earlier calls.
        save_every: Seconds between two saved states; the last one is saved in any case.
    """

    def __init__(self, minutes: float, spent: float = 0.0, save_every: float = 60.0) -> None:
        self.budget, self.spent, self.save_every = minutes * 60, spent, save_every
        self._last, self._saved = time.monotonic(), spent

    @property
    def is_running(self) -> bool:
        """Whether time is left."""
        return self.spent < self.budget

    @property
    def share(self) -> float:
        """Share of the time that is spent."""
        return self.spent / self.budget

    def tick(self) -> None:
        """Counts the time since the last call."""
        now = time.monotonic()
        self.spent, self._last = self.spent + now - self._last, now

    def save_is_due(self) -> bool:
        """Returns whether the state is to be saved now; where it is, the next time is counted from here."""
        due = self.spent - self._saved > self.save_every or not self.is_running
        if due:
            self._saved = self.spent
        return due


def warm_cosine(done: float, warm: float = 0.02, floor: float = 0.01) -> float:
    """Returns the learning rate factor at the share `done` of the training: linear warm-up, then half a cosine."""
    if done < warm:
        return max(done / warm, 0.02)
    return floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * min((done - warm) / (1 - warm), 1.0)))


def to_tensor(images: np.ndarray):
    """Converts ``(B, 64, 64, 3)`` uint8 to ``(B, 3, 64, 64)`` float in [-1, 1]."""
    import torch

    return torch.from_numpy(np.ascontiguousarray(images)).permute(0, 3, 1, 2).float().div_(127.5).sub_(1)


def to_images(tensor) -> np.ndarray:
    """Converts ``(B, 3, 64, 64)`` in [-1, 1] to ``(B, 64, 64, 3)`` uint8."""
    return ((tensor.float().clamp(-1, 1) + 1) * 127.5).round().byte().permute(0, 2, 3, 1).numpy()


def sheet(images: np.ndarray, columns: int = 8, scale: int = 2):
    """Returns images side by side as one PIL image."""
    from PIL import Image

    rows = -(-len(images) // columns)
    canvas = np.full((rows * 66, columns * 66, 3), 90, np.uint8)
    for i, image in enumerate(images):
        y, x = divmod(i, columns)
        canvas[y * 66 + 1 : y * 66 + 65, x * 66 + 1 : x * 66 + 65] = image
    page = Image.fromarray(canvas)
    return page.resize((page.width * scale, page.height * scale), Image.Resampling.NEAREST)
