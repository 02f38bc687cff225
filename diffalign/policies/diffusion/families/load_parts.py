"""The parts of a pipeline's folder: each is loaded from its subfolder, complete, also where only halves were saved."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import torch

from diffalign.errors import ConfigError
from diffalign.files.complete_weights import load_complete, variant_of
from diffalign.files.model_files import is_folder
from diffalign.files.weightless import build_without_weights, opens_without_weights
from diffalign.policies.diffusion.families.source import ModelSource


def load_part(network: Any, folder: Path, name: str, dtype: torch.dtype, *, strict: bool = True) -> Any:
    """Loads a network, a class of diffusers or transformers, from the subfolder ``name``.

    Raises:
        ConfigError: The subfolder or its weights are missing, or a tensor is; see `complete_weights`.
    """
    part = folder / name
    if not is_folder(part):
        raise ConfigError(f"{folder} has no {name}: the folder {part} is missing. Download or save the model again.")
    if opens_without_weights():
        return build_without_weights(network, str(folder), dtype, subfolder=name)
    of_transformers = network.__module__.partition(".")[0] == "transformers"
    precision = {"dtype": dtype, "ignore_mismatched_sizes": True} if of_transformers else dtype_keyword(dtype)
    load = partial(network.from_pretrained, str(folder), subfolder=name, variant=variant_of(part))
    return load_complete(load, str(part), strict=strict, **precision)


def load_text_encoder(source: ModelSource, name: str, dtype: torch.dtype) -> Any:
    """Loads a text encoder by the class that the pipeline's index names for it. Raises ConfigError as `load_part`."""
    import transformers

    kind = _class_in_index(source, name)
    if kind is None or not issubclass(kind, transformers.PreTrainedModel):
        raise ConfigError(
            f"{source.folder}/model_index.json names no text encoder of transformers for {name}, but"
            f" {str(source.index().get(name))[:80]!r}. Download or save the model again."
        )
    return load_part(kind, source.holder(name), name, dtype, strict=False)


def load_tokenizer(source: ModelSource, name: str) -> Any:
    """Loads a tokenizer by the class that the pipeline's index names for it. Raises ConfigError where it names none."""
    kind: Any = _class_in_index(source, name)
    if kind is None:
        raise ConfigError(
            f"{source.folder}/model_index.json names no tokenizer of transformers for {name}. Download or save the"
            " model again."
        )
    return kind.from_pretrained(str(source.holder(name)), subfolder=name)


def load_scheduler(source: ModelSource) -> Any:
    """Loads the scheduler by the class that its file names, with the spacing of betas that the source states."""
    import diffusers

    name = source.config("scheduler", "scheduler_config.json").get("_class_name")
    kind = getattr(diffusers, name, None) if isinstance(name, str) else None
    if not (isinstance(kind, type) and issubclass(kind, diffusers.SchedulerMixin)):
        raise ConfigError(
            f"{source.holder('scheduler')}/scheduler/scheduler_config.json names no scheduler of diffusers, but"
            f" {str(name)[:80]!r}. Download or save the model again."
        )
    scheduler: Any = kind.from_pretrained(str(source.holder("scheduler")), subfolder="scheduler")
    return scheduler if source.betas == "own" else kind.from_config(scheduler.config, beta_schedule=source.betas)


def _class_in_index(source: ModelSource, name: str) -> type | None:
    """Returns the class of transformers that the pipeline's index names for a part."""
    import transformers

    entry = source.index().get(name)
    library, kind = entry if isinstance(entry, list) and len(entry) == 2 else (None, None)
    found = getattr(transformers, kind, None) if library == "transformers" and isinstance(kind, str) else None
    return found if isinstance(found, type) else None


def dtype_keyword(dtype: torch.dtype) -> dict[str, torch.dtype]:
    """Returns the keyword that this version of diffusers takes a dtype by."""
    from diffusers import __version__ as version

    new = tuple(int(part) for part in version.split(".")[:2]) >= (0, 42)
    return {"dtype" if new else "torch_dtype": dtype}
