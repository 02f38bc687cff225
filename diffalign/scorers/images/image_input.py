"""Converts the images that scorers receive to RGB, then to the input tensor of a vision model.

Preprocessing follows a model's own ``preprocessor_config.json`` with PIL and numpy only. torchvision is not used: its
wheels require one torch release, and a mismatch breaks every vision model of transformers at import.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from diffalign.data.media.decode import MAX_PIXELS, as_shown, open_image
from diffalign.data.storage.lazy_table_cell import TableCell
from diffalign.errors import DataError, UserError
from diffalign.files.complete_weights import one_sentence
from diffalign.files.model_files import read_object

CLIP_MEAN, CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
MOST_PIXELS = 2**24
"""Pixels of a resized image that is cropped afterwards; of a longer one only the crop is made, as a line of 60,000
pixels would become an image of gigabytes."""
LARGEST_EDGE = 8192
"""Pixels that a vision model's image may have on one side."""


def as_rgb(image: Any) -> Image.Image:
    """Converts an image to an RGB PIL image.

    Args:
        image: PIL image of any mode, uint8 array ``(H, W)``, ``(H, W, 3)`` or ``(H, W, 4)``, path, encoded bytes, or a
            handle of a data set. Transparency is composited on white, as a viewer would; published processors drop the
            alpha channel, which shows the colour that is stored beneath.

    Returns:
        The image; not to be changed in place, as it may be the argument itself.

    Raises:
        DataError: The file is missing or is no image.
        UserError: The argument is no image.
    """
    if isinstance(image, np.ndarray) and image.dtype == np.uint8:
        image = Image.fromarray(image)
    if isinstance(image, Image.Image):
        if type(image) is Image.Image and image.mode == "RGB" and not image.info and not image.getexif():
            return image  # decoded before: nothing to turn or to convert, and several scorers share it uncopied
        return as_shown(image, "an image in memory")
    if isinstance(image, (str, Path, bytes, TableCell)):
        return open_image(Path(image) if isinstance(image, str) else image)
    raise UserError(
        f"An image must be a PIL image, a uint8 array (H, W, 3), a path or encoded bytes; got {_kind(image)}. "
        "Convert a float tensor in [0, 1] with (x * 255).round().byte().permute(1, 2, 0).numpy()."
    )


def _kind(image: Any) -> str:
    dtype = getattr(image, "dtype", None)
    return type(image).__name__ + (f" of {dtype}" if dtype is not None else "")


@dataclass(frozen=True, kw_only=True)
class Preprocessing:
    """The image preprocessing of a vision model: resize, centre crop, scale, normalise.

    Args:
        shortest_edge: Length of the short side after the resize, at the same aspect ratio; ``None`` with ``exact`` or
            without a resize.
        exact: (height, width) to resize to, at any aspect ratio; ``None`` with ``shortest_edge`` or without a resize.
        resample: PIL's number of the filter; 3 is bicubic.
        crop: (height, width) of the centre crop, padded with black where the image is smaller; ``None`` for no crop.
        longest_edge: Length of the long side after the resize, instead of ``shortest_edge``.
        crop_rounds: Whether an odd margin of the crop is halved as torchvision does, to the nearest even pixel; the
            processors of transformers round down.
        scale: Factor on the 8-bit values.
        mean, std: Per channel, applied after the scale.
    """

    shortest_edge: int | None
    exact: tuple[int, int] | None
    resample: int
    crop: tuple[int, int] | None
    scale: float
    mean: tuple[float, ...]
    std: tuple[float, ...]
    longest_edge: int | None = None
    crop_rounds: bool = False

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Preprocessing:
        """Reads the values of a ``preprocessor_config.json``; in its old form a size is an integer."""
        size, shortest, exact = config.get("size"), None, None
        if config.get("do_resize", True) and size is not None:
            if isinstance(size, Mapping) and "shortest_edge" in size:
                shortest = int(size["shortest_edge"])
            elif isinstance(size, Mapping) and {"height", "width"} <= set(size):
                exact = (int(size["height"]), int(size["width"]))
            elif isinstance(size, int):
                # the old integer meant the short side for CLIP's family (which crops) and both sides for ViT's
                crops = config.get("do_center_crop", False)
                shortest, exact = (size, None) if crops else (None, (size, size))
            else:
                raise UserError(
                    f"Cannot follow the image size {size!r}. Expected an integer, {{'shortest_edge': n}} or "
                    "{'height': h, 'width': w} in preprocessor_config.json."
                )
        crop = config.get("crop_size", size) if config.get("do_center_crop") else None
        normalise = config.get("do_normalize", True)
        return cls(
            shortest_edge=shortest,
            exact=exact,
            resample=int(config.get("resample", 3)),
            crop=None if crop is None else _height_width(crop),
            scale=float(config.get("rescale_factor", 1 / 255)) if config.get("do_rescale", True) else 1.0,
            mean=tuple(config["image_mean"]) if normalise else (0.0, 0.0, 0.0),
            std=tuple(config["image_std"]) if normalise else (1.0, 1.0, 1.0),
        )

    def __str__(self) -> str:
        """Returns the short id that stands beside scores: ``"224 shortest bicubic, centre crop"``."""
        filter_name = Image.Resampling(self.resample).name.lower()
        parts = []
        if self.shortest_edge is not None:
            parts.append(f"{self.shortest_edge} shortest {filter_name}")
        elif self.longest_edge is not None:
            parts.append(f"{self.longest_edge} longest {filter_name}")
        elif self.exact is not None:
            parts.append(f"{self.exact[0]} x {self.exact[1]} {filter_name}")
        if self.crop is not None:
            edge = self.shortest_edge or self.longest_edge
            kind = "centre crop" if self.longest_edge is None else "black borders"
            parts.append(kind if self.crop == (edge, edge) else f"{kind} {self.crop[0]} x {self.crop[1]}")
        if (self.mean, self.std) != (CLIP_MEAN, CLIP_STD):
            parts.append(f"mean {_numbers(self.mean)}, std {_numbers(self.std)}")
        return ", ".join(parts)

    def __call__(self, images: Sequence[Any]) -> Tensor:
        """Converts images of any size and mode to ``(B, 3, H, W)`` float32."""
        return torch.stack([torch.from_numpy(self._preprocess(as_rgb(image))) for image in images])

    def _preprocess(self, image: Image.Image) -> np.ndarray:
        if self.shortest_edge is not None:
            image = self._resize_shortest(image, self.shortest_edge)
        elif self.longest_edge is not None:
            ratio = max(image.size) / self.longest_edge
            size = (max(1, round(image.width / ratio)), max(1, round(image.height / ratio)))
            image = image.resize(size, resample=self.resample)
        elif self.exact is not None:
            image = image.resize((self.exact[1], self.exact[0]), resample=self.resample)
        if self.crop is not None:
            height, width = self.crop
            offset = _rounded_offset if self.crop_rounds else _floored_offset
            left, top = offset(image.width, width), offset(image.height, height)
            image = image.crop((left, top, left + width, top + height))
        pixels = np.asarray(image, np.float32) * np.float32(self.scale)
        pixels = (pixels - np.asarray(self.mean, np.float32)) / np.asarray(self.std, np.float32)
        return np.ascontiguousarray(pixels.transpose(2, 0, 1))

    def _resize_shortest(self, image: Image.Image, shortest: int) -> Image.Image:
        """Returns the image whose short side has ``shortest`` pixels; of a very long one only what the crop keeps."""
        short, long = sorted(image.size)
        longest = int(shortest * long / short)  # truncated, as in the processors of transformers
        is_tall = image.width <= image.height
        if self.crop is None and longest > MAX_PIXELS // shortest:
            raise DataError(
                f"an image of {image.width} x {image.height} pixels is too narrow: with a short side of {shortest} it "
                f"would have more than {MAX_PIXELS:,}. Leave it out."
            )
        size = (shortest, longest) if is_tall else (longest, shortest)
        length = 0 if self.crop is None else self.crop[0 if is_tall else 1]
        if not 0 < length < longest or longest <= MOST_PIXELS // shortest:
            return image.resize(size, resample=self.resample)
        offset = (_rounded_offset if self.crop_rounds else _floored_offset)(longest, length)
        first, last = (edge * long / longest for edge in (offset, offset + length))
        margin = 4 * max(1.0, long / longest)  # at least what the widest filter reaches
        start, end = max(0, int(first - margin)), min(long, math.ceil(last + margin))
        image = image.crop((0, start, short, end) if is_tall else (start, 0, end, short))
        width, height = (shortest, length) if is_tall else (length, shortest)
        x, y = ((0.0, float(short)), (first - start, last - start))[:: 1 if is_tall else -1]
        image = image.resize((width, image.height), self.resample, (x[0], 0, x[1], image.height))  # PIL's order
        return image.resize((width, height), self.resample, (0, y[0], width, y[1]))


def _floored_offset(size: int, crop: int) -> int:
    return (size - crop) // 2


def _rounded_offset(size: int, crop: int) -> int:
    return -((crop - size) // 2) if size < crop else round((size - crop) / 2)


def _numbers(values: Sequence[float]) -> str:
    """Returns numbers by their first digits, as one where they are equal."""
    return " ".join(f"{value:.3g}" for value in (values if len(set(values)) > 1 else values[:1]))


def _height_width(size: Any) -> tuple[int, int]:
    if isinstance(size, Mapping):
        return (int(size["height"]), int(size["width"])) if "height" in size else (int(size["shortest_edge"]),) * 2
    return int(size), int(size)


def _tried(config: Mapping[str, Any], path: str) -> Preprocessing:
    """Returns the preprocessing of a file's values, tried on a small image."""
    with one_sentence(f"{path} cannot be followed", UserError, "Copy the model's own file there again."):
        preprocessing = Preprocessing.from_config(config)
        edges = (preprocessing.shortest_edge or 1, *(preprocessing.exact or ()), *(preprocessing.crop or ()))
        if not all(1 <= edge <= LARGEST_EDGE for edge in edges):
            raise ValueError(f"an edge of its images is not in 1 to {LARGEST_EDGE} pixels")
        pixels = preprocessing([Image.new("RGB", (8, 8), "white")])
        if pixels.shape[1] != 3 or not bool(pixels.isfinite().all()):
            raise ValueError("it makes no image of three channels")
    return preprocessing


def load_preprocessing(model: str) -> Preprocessing:
    """Loads the preprocessing of a model folder or hub id.

    Raises:
        UserError: There is no ``preprocessor_config.json``, and no image processor in ``processor_config.json``, or it
            cannot be followed.
    """
    from transformers.utils import cached_file

    for name in ("preprocessor_config.json", "processor_config.json"):
        path = cached_file(model, name, _raise_exceptions_for_missing_entries=False)
        if path is None:
            continue
        config = read_object(Path(path))
        config = config.get("image_processor", config)
        if isinstance(config, Mapping) and ("size" in config or "image_mean" in config):
            return _tried(config, str(path))
    raise UserError(
        f"'{model}' has no image preprocessing: expected preprocessor_config.json next to the weights. Save the "
        "model's image processor there with processor.save_pretrained(folder)."
    )
