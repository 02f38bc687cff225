"""Dual encoders of open_clip, by ``ARCHITECTURE/WEIGHTS``, where WEIGHTS is a published tag or a file.

    ViT-H-14/laion2b_s32b_b79k          a tag, fetched when it is first used
    ViT-H-14/weights/open_clip.pt       a file of that architecture (safetensors, or a .pt with weights only)
    path/to/folder                      open_clip_config.json and weights; also one file beside that config
    hf-hub:org/name                     the same from the hub

OpenAI's weights were trained with a faster approximation of GELU. Whether an architecture uses it follows the tag, so
``ViT-L-14/openai`` is right; a file of such weights needs the architecture that says so, ``ViT-L-14-quickgelu/FILE``.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from diffalign.errors import UserError
from diffalign.files.complete_weights import check_finite, one_sentence
from diffalign.files.model_files import read_object
from diffalign.quiet import quiet
from diffalign.scorers.images.encoders.encoder import Preprocess, stored_logit_scale
from diffalign.scorers.images.image_input import CLIP_MEAN, CLIP_STD, Preprocessing

CONFIG = "open_clip_config.json"
EXAMPLE = "open_clip:ViT-H-14/laion2b_s32b_b79k"
ADVICE = f"Expected ARCHITECTURE/TAG, ARCHITECTURE/FILE or a folder with {CONFIG}, as in --scorer clip:{EXAMPLE}"


class OpenClipEncoder:
    """A dual encoder of open_clip.

    Args:
        model: The model, already on its device.
        tokenizer: Its tokenizer: texts to ``(B, L)`` token ids.
        preprocess: Its image preprocessing.
    """

    def __init__(self, model: Any, tokenizer: Any, preprocess: Preprocess) -> None:
        self.model, self.tokenizer = model.eval().requires_grad_(False), tokenizer
        self.preprocess: Preprocess = preprocess

    @classmethod
    def load(cls, source: str, device: str = "cpu") -> OpenClipEncoder:
        """Loads ``ARCHITECTURE/WEIGHTS``, a folder, a file beside its config, or ``hf-hub:ID``.

        Raises:
            UserError: There is no such architecture, tag or file, or its tensors are not those of the architecture.
        """
        with one_sentence(f"Cannot load an open_clip model from '{source}'", UserError, ADVICE), quiet():
            architecture, weights, settings = _find(source)
            return cls.from_file(architecture, weights, device, settings=settings)

    @classmethod
    def from_file(
        cls, architecture: str, weights: Path, device: str = "cpu", *, settings: Mapping[str, Any] | None = None
    ) -> OpenClipEncoder:
        """Loads a file of an architecture.

        Args:
            architecture: A name of open_clip, or ``local-dir:FOLDER`` for the config of a folder.
            weights: A safetensors file, or a ``.pt`` that holds tensors only, possibly under ``state_dict``.
            device: The device to load it on.
            settings: Preprocessing as open_clip writes it (``mean``, ``std``, ``interpolation``, ``resize_mode``) and
                ``quick_gelu``.

        Raises:
            UserError: Tensors are missing, left over, of another shape, or not finite.
        """
        import open_clip

        settings = settings or {}
        with _without_warnings():
            model = open_clip.create_model(
                architecture,
                load_weights=False,
                pretrained_text=False,
                force_quick_gelu=bool(settings.get("quick_gelu")),
                output_dict=False,
            )
        _load_complete(model, weights)
        tokenizer = open_clip.get_tokenizer(architecture)
        size = model.visual.image_size  # type: ignore[union-attr]
        return cls(model.float().to(device), tokenizer, _preprocessing(size, settings))

    @property
    def logit_scale(self) -> float | None:
        """``exp(logit_scale)`` of the model."""
        return stored_logit_scale(self.model)

    @torch.no_grad()
    def embed_images(self, pixels: Tensor) -> Tensor:
        """Returns embeddings, ``(B, D)``."""
        embeddings: Tensor = self.model.encode_image(pixels.to(self._device))
        return embeddings

    @torch.no_grad()
    def embed_texts(self, prompts: Sequence[str]) -> Tensor:
        """Returns embeddings, ``(B, D)``."""
        embeddings: Tensor = self.model.encode_text(self.tokenizer(list(prompts)).to(self._device))
        return embeddings

    @property
    def _device(self) -> torch.device:
        device: torch.device = next(self.model.parameters()).device
        return device


@contextmanager
def _without_warnings() -> Iterator[None]:
    """Hides the library's warning that a network has no weights yet, which follow."""
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)
    try:
        yield
    finally:
        root.setLevel(level)


def _find(source: str) -> tuple[str, Path, dict[str, Any]]:
    """Returns architecture, file of weights, and settings of preprocessing."""
    import open_clip
    from open_clip.pretrained import download_pretrained, download_pretrained_from_hf

    path = Path(source).expanduser()
    if source.startswith("hf-hub:"):
        weights = Path(download_pretrained_from_hf(source.removeprefix("hf-hub:")))
        return _beside(weights, source)
    if path.exists():
        return _beside(path if path.is_file() else _file_in(path), source)
    architecture, _, weights_name = source.partition("/")
    if open_clip.get_model_config(architecture) is None:
        raise UserError(f"open_clip has no architecture '{architecture}', and there is no such path. {ADVICE}")
    if not weights_name:
        tags = ", ".join(open_clip.list_pretrained_tags_by_model(architecture))
        raise UserError(f"'{source}' names no weights. Write {architecture}/TAG ({tags}) or {architecture}/FILE.")
    config = open_clip.get_pretrained_cfg(architecture, weights_name)
    if config:
        return architecture, Path(download_pretrained(config)), dict(config)
    file = Path(weights_name).expanduser()
    if not file.is_file():
        tags = ", ".join(open_clip.list_pretrained_tags_by_model(architecture)) or "none"
        raise UserError(f"'{weights_name}' is neither a file nor a tag of {architecture}. Its tags: {tags}.")
    return architecture, file, {}


def _beside(weights: Path, source: str) -> tuple[str, Path, dict[str, Any]]:
    """Returns what the config beside a file of weights says of it."""
    config = weights.parent / CONFIG
    if not config.is_file():
        raise UserError(
            f"'{source}' does not say its architecture: there is no {CONFIG} beside it. Write for example "
            f"open_clip:ViT-H-14/{source}"
        )
    return f"local-dir:{weights.parent}", weights, dict(read_object(config).get("preprocess_cfg") or {})


def _file_in(folder: Path) -> Path:
    """Returns the file of weights of a folder; safetensors before others."""
    for pattern in ("*.safetensors", "*.bin", "*.pt", "*.pth"):
        files = sorted(folder.glob(pattern))
        if len(files) == 1:
            return files[0]
        if files:
            raise UserError(f"{folder} holds {len(files)} files of weights. Name one: open_clip:{files[0]}")
    raise UserError(f"{folder} holds no weights. {ADVICE}")


def _load_complete(model: nn.Module, weights: Path) -> None:
    """Loads a file into a model; every tensor of both must be used."""
    from open_clip.factory import load_checkpoint

    try:
        keys = load_checkpoint(model, str(weights), strict=False, weights_only=True)  # type: ignore[arg-type]
    except RuntimeError as error:
        shapes = [line.strip() for line in str(error).splitlines() if "size mismatch" in line]
        if not shapes:
            raise
        raise UserError(
            f"{weights} is of another architecture: {len(shapes)} tensors of another shape. {ADVICE}"
        ) from None
    missing, left_over = getattr(keys, "missing_keys", []), getattr(keys, "unexpected_keys", [])
    faults = [f"{len(k)} {what} (first {k[0]})" for k, what in ((missing, "missing"), (left_over, "left over")) if k]
    if faults:
        raise UserError(f"{weights} does not hold a complete model: {', '.join(faults)}. {ADVICE}")
    check_finite(model.state_dict(), str(weights), UserError)


def _preprocessing(size: Any, settings: Mapping[str, Any]) -> Preprocessing:
    """Returns the preprocessing of validation in open_clip, with torchvision's rounding of a centre crop."""
    height, width = (size, size) if isinstance(size, int) else (int(size[0]), int(size[1]))
    mode, filters = settings.get("resize_mode") or "shortest", {"bicubic": 3, "bilinear": 2, "random": 3}
    if mode not in ("shortest", "longest", "squash") or mode != "squash" and height != width:
        raise UserError(f"Cannot follow the preprocessing '{mode}' to {height} x {width} pixels of an open_clip model.")
    return Preprocessing(
        shortest_edge=height if mode == "shortest" else None,
        longest_edge=height if mode == "longest" else None,
        exact=(height, width) if mode == "squash" else None,
        resample=filters[settings.get("interpolation") or "bicubic"],
        crop=None if mode == "squash" else (height, width),
        crop_rounds=True,
        scale=1 / 255,
        mean=tuple(settings.get("mean") or CLIP_MEAN),
        std=tuple(settings.get("std") or CLIP_STD),
    )
