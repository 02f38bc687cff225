"""Opens an encoder by its name: ``open_clip:...`` for open_clip, anything else for transformers."""

from __future__ import annotations

from diffalign.scorers.images.encoders.encoder import Encoder
from diffalign.scorers.images.encoders.open_clip_encoder import OpenClipEncoder
from diffalign.scorers.images.encoders.transformers_encoder import TransformersEncoder

OPEN_CLIP = "open_clip:"


def open_encoder(source: str, device: str = "cpu", *, processor: str = "") -> Encoder:
    """Returns the encoder of a folder, a hub id, or ``open_clip:ARCHITECTURE/WEIGHTS``.

    Args:
        source: Its name.
        device: The device to load it on.
        processor: Folder or hub id of tokenizer and preprocessing, where they are not stored with the weights
            (transformers only).

    Raises:
        UserError: It cannot be loaded.
    """
    if source.startswith(OPEN_CLIP):
        return OpenClipEncoder.load(source.removeprefix(OPEN_CLIP), device)
    return TransformersEncoder.load(source, device, processor=processor)
