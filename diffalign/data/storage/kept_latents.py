"""Kept latents: the clean latents of images that a model drew, in one file beside the table that names the images.

    latents.safetensors    key        an image's name, relative to the folder of this file, as the table writes it
                           value      (C, h, w) float16 or float32, scaled: x0 as the denoiser sees it
                           metadata   "latents": JSON of the version, "scaled", the autoencoder and its scale

A stored image is a latent decoded, rounded to 8 bits and encoded again, which moves it: by 15 % on the embedded model.
They are written in float16, whose rounding moves a latent by 0.02 %, at half the size of float32.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from diffalign.errors import DataError
from diffalign.files.atomic import write_atomically

# A handle is three strings. torch is imported when a handle is read: records and the check of a data set need no torch.
if TYPE_CHECKING:
    from torch import Tensor

LATENTS = "latents.safetensors"
"""The usual name of the file."""
_KEY, _VERSION, _OPEN_FILES = "latents", 1, 4
_MAKE = "`diffalign data make --latents` writes such a file"


@dataclass(frozen=True, slots=True)
class LatentSpace:
    """What decides what an image's latent is.

    Args:
        autoencoder: Identity of the autoencoder's weights.
        scale: ``x = (z - offset) factor``, from the autoencoder's latent to the denoiser's, as text.
    """

    autoencoder: str
    scale: str


@dataclass(frozen=True, slots=True)
class KeptLatent:
    """An image together with the latent that it was decoded from, which is scored in its place.

    Args:
        file: The file of latents.
        name: The image's key in it.
        image: The image, for messages and masks.
    """

    file: str
    name: str
    image: Path

    def read(self) -> Tensor:
        """Returns ``(C, h, w)`` float32, scaled, on the CPU. Raises DataError where it is gone or not finite."""
        import torch

        latent = self._get(lambda file: file.get_tensor(self.name)).float()
        if not bool(torch.isfinite(latent).all()):
            raise DataError(f"{self} holds numbers that are not finite. {_MAKE_AGAIN}")
        return latent

    def shape(self) -> tuple[int, ...]:
        """Returns the latent's shape, from the file's header."""
        return tuple(self._get(lambda file: file.get_slice(self.name).get_shape()))

    def digest(self) -> str:
        """Returns 32 hexadecimal digits of the values and of their space, wherever the file lies."""
        from diffalign.data.storage.tensor_cache import content_key

        latent, space = self.read(), latent_space(self.file)
        values = latent.contiguous().numpy().tobytes()
        return content_key("latent", space.autoencoder, space.scale, str(tuple(latent.shape)), values)

    def _get(self, read: Any) -> Any:
        from safetensors import SafetensorError

        try:
            return read(_open(self.file)[0])
        except (SafetensorError, OSError) as error:
            raise DataError(f"{self} cannot be read: {_first_words(error)}. {_MAKE_AGAIN}") from error

    def __str__(self) -> str:
        return f"the latent of '{self.name}' in '{self.file}'"


_MAKE_AGAIN = "Make the file again, or encode the images: --set data.latents=null"


def write_latents(path: Path, latents: Mapping[str, Tensor], space: LatentSpace) -> Path:
    """Writes scaled latents ``(C, h, w)`` by the names of their images, in float16, atomically."""
    import torch
    from safetensors.torch import save_file

    tensors = {
        name: latent.detach().to("cpu", torch.float16, copy=True).contiguous() for name, latent in latents.items()
    }
    facts = {"version": _VERSION, "convention": "scaled", "autoencoder": space.autoencoder, "scale": space.scale}
    metadata = {_KEY: json.dumps(facts)}
    return write_atomically(path, lambda temporary: save_file(tensors, temporary, metadata=metadata))


def latent_space(path: str | Path) -> LatentSpace:
    """Returns the space of a file's latents. Raises DataError where it is no file of latents."""
    return _open(str(path))[1]


def latent_names(path: str | Path) -> frozenset[str]:
    """Returns the names of the images whose latents a file holds. Raises DataError where it is no file of latents."""
    return _open(str(path))[2]


def _open(path: str) -> tuple[Any, LatentSpace, frozenset[str]]:
    try:
        facts = os.stat(path)
    except (OSError, ValueError) as error:
        raise DataError(
            f"there is no file of latents '{path}' ({_first_words(error)}). {_MAKE}; without one type: "
            "--set data.latents=null"
        ) from error
    return _open_as_it_is(path, facts.st_ino, facts.st_size, facts.st_mtime_ns)


@lru_cache(maxsize=_OPEN_FILES)
def _open_as_it_is(path: str, *stamp: int) -> tuple[Any, LatentSpace, frozenset[str]]:
    from safetensors import SafetensorError, safe_open

    try:
        file = safe_open(path, framework="pt")  # type: ignore[no-untyped-call]
        names, metadata = frozenset(file.keys()), file.metadata() or {}
    except (SafetensorError, OSError, ValueError) as error:
        raise DataError(f"'{path}' cannot be read as safetensors ({_first_words(error)}). {_MAKE_AGAIN}") from error
    try:
        facts = json.loads(metadata[_KEY])
        known = facts["version"] == _VERSION and facts["convention"] == "scaled"
        space = LatentSpace(str(facts["autoencoder"]), str(facts["scale"]))
    except (KeyError, ValueError, TypeError, RecursionError):
        known = False
    if not known:
        raise DataError(
            f"'{path}' does not say of which autoencoder and in which scale its latents are, and others would look "
            f"alike. {_MAKE}; to encode the images type: --set data.latents=null"
        )
    return file, space, names


def _first_words(error: BaseException) -> str:
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return text[:200] or type(error).__name__
