"""The parts of a pipeline's folder: each is loaded from its subfolder, complete, also where only halves were saved."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import torch

from diffalign.errors import ConfigError
from diffalign.files.complete_weights import load_complete, variant_of
from diffalign.files.model_files import is_folder, read_object


def load_part(network: Any, folder: Path, name: str, dtype: torch.dtype, *, strict: bool = True) -> Any:
    """Loads a network, a class of diffusers or transformers, from the subfolder ``name``.

    Raises:
        ConfigError: The subfolder or its weights are missing, or a tensor is; see `complete_weights`.
    """
    part = folder / name
    if not is_folder(part):
        raise ConfigError(f"{folder} has no {name}: the folder {part} is missing. Download or save the model again.")
    of_transformers = network.__module__.partition(".")[0] == "transformers"
    precision = {"dtype": dtype, "ignore_mismatched_sizes": True} if of_transformers else dtype_keyword(dtype)
    load = partial(network.from_pretrained, str(folder), subfolder=name, variant=variant_of(part))
    return load_complete(load, str(part), strict=strict, **precision)


def load_text_encoder(folder: Path, name: str, dtype: torch.dtype) -> Any:
    """Loads a text encoder by the class that the pipeline's index names for it. Raises ConfigError as `load_part`."""
    import transformers

    entry = read_object(folder / "model_index.json").get(name)
    library, kind = entry if isinstance(entry, list) and len(entry) == 2 else (None, None)
    network = getattr(transformers, kind, None) if library == "transformers" and isinstance(kind, str) else None
    if not (isinstance(network, type) and issubclass(network, transformers.PreTrainedModel)):
        raise ConfigError(
            f"{folder}/model_index.json names no text encoder of transformers for {name}, but {str(entry)[:80]!r}."
            " Download or save the model again."
        )
    return load_part(network, folder, name, dtype, strict=False)


def dtype_keyword(dtype: torch.dtype) -> dict[str, torch.dtype]:
    """Returns the keyword that this version of diffusers takes a dtype by."""
    from diffusers import __version__ as version

    new = tuple(int(part) for part in version.split(".")[:2]) >= (0, 42)
    return {"dtype" if new else "torch_dtype": dtype}
