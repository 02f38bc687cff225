"""Checks that kept latents are those of a model: its autoencoder, its scale, its resolution, and no mirrored views."""

from __future__ import annotations

from collections.abc import Sequence

from diffalign.data.media.decode import media_digest
from diffalign.data.records.pair import Pair
from diffalign.data.storage.kept_latents import KeptLatent, LatentSpace, latent_space
from diffalign.errors import ConfigError, DataError

INSTEAD = "Type, to encode the images: --set data.latents=null"


def check_kept_latents(pairs: Sequence[Pair], space: LatentSpace, shape: tuple[int, ...], flip: str) -> None:
    """Reads every kept latent once; does nothing where there are none.

    Args:
        pairs: The pairs.
        space: The model's autoencoder and scale.
        shape: ``(C, h, w)`` of the model's latents.
        flip: The recipe's mirroring.

    Raises:
        ConfigError: Candidates would be mirrored, and a latent has no mirrored view.
        DataError: Latents of another autoencoder, scale or resolution, or not finite.
    """
    files: set[str] = set()
    for kept in (a.candidate for pair in pairs for a in pair.answers.values() if isinstance(a.candidate, KeptLatent)):
        if kept.file not in files:
            files.add(kept.file)
            _check_file(kept.file, space, flip)
        if kept.shape() != shape:
            raise DataError(
                f"{kept} has the shape {kept.shape()}, but this model's latents have {shape}: it was drawn at another "
                f"resolution. Type: --set model.resolution=PIXELS   with that of the drawing. {INSTEAD}"
            )
        media_digest(kept)  # reads the values: refused where they are not finite


def _check_file(file: str, space: LatentSpace, flip: str) -> None:
    if flip != "none":
        raise ConfigError(
            f"a kept latent has no mirrored view, but model.flip is '{flip}'. Type: --set model.flip=none   or, to "
            "encode the images: --set data.latents=null"
        )
    found = latent_space(file)
    if found.autoencoder != space.autoencoder:
        raise DataError(
            f"the latents in '{file}' are of the autoencoder {found.autoencoder[:8]}, but this model has "
            f"{space.autoencoder[:8]}: to it they show other images. {INSTEAD}"
        )
    if found.scale != space.scale:
        raise DataError(
            f"the latents in '{file}' have the scale '{found.scale}', but this model's is '{space.scale}'. {INSTEAD}"
        )
