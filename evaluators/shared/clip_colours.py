"""Colours of objects by CLIP, as GenEval reads them: the nearest of ten names, each the mean of three sentences."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from diffalign.scorers.images.dual_encoder import DualEncoder
from diffalign.scorers.images.image_input import as_rgb

COLOURS = ("red", "orange", "yellow", "green", "blue", "purple", "pink", "brown", "black", "white")
SENTENCES = ("a photo of a {colour} {name}", "a photo of a {colour}-colored {name}", "a photo of a {colour} object")
OUTSIDE = "#999"
"""Colour around an object whose mask is known."""


class ClipColours:
    """Names the colour of objects. The encoder is loaded when a prompt first names a colour.

    Args:
        model: Folder or hub id of a dual encoder.
        device: Its device.
    """

    def __init__(self, model: str, device: str) -> None:
        self.model, self.device = model, device
        self._features: dict[str, Tensor] = {}

    @cached_property
    def encoder(self) -> DualEncoder:
        """The encoder."""
        return DualEncoder.load(self.model, self.device)

    @property
    def weights(self) -> str:
        """Hash of the encoder's weights."""
        return self.encoder.weights

    def __call__(self, image: Any, objects: Sequence[Sequence[Any]], name: str) -> list[str]:
        """Returns the colour of each object ``(box, confidence[, mask])`` of a class in an image."""
        whole = as_rgb(image)
        crops = [_crop(whole, found) for found in objects]
        cosines = self.encoder.image_features(crops) @ self._texts(name).T
        return [COLOURS[int(index)] for index in cosines.argmax(1)]

    def _texts(self, name: str) -> Tensor:
        if name not in self._features:
            texts = [s.format(colour=colour, name=name) for colour in COLOURS for s in SENTENCES]
            means = self.encoder.text_features(texts).reshape(len(COLOURS), len(SENTENCES), -1).mean(1)
            self._features[name] = torch.nn.functional.normalize(means, dim=-1)
        return self._features[name]


def _crop(image: Image.Image, found: Sequence[Any]) -> Image.Image:
    if len(found) > 2 and found[2] is not None:
        mask = Image.fromarray(torch.as_tensor(found[2]).to(torch.bool).numpy())
        image = Image.composite(image, Image.new("RGB", image.size, OUTSIDE), mask)
    x0, y0, x1, y1 = map(float, found[0][:4])
    return image.crop((x0, y0, x1, y1))
