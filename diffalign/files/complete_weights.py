"""Models whose files hold every tensor. Libraries draw missing ones at random and say so in a log only; here that is an
error, and so are tensors that the model does not have, of another shape, or not finite.

What a library itself leaves out of its report is not missing: tied weights, buffers that are computed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from diffalign.errors import ConfigError, UserError
from diffalign.files.shard_index import check_index
from diffalign.files.weightless import build_without_weights, opens_without_weights
from diffalign.quiet import quiet

WEIGHTS = re.compile(
    r"(?:diffusion_pytorch_model|pytorch_model|model)(?:\.(?P<new>\w+))??(?:-\d+-of-\d+)?(?:\.(?P<old>\w+))??"
    r"\.(?:safetensors|bin)"
)
"""Files of weights: ``model.safetensors``, ``model.fp16.safetensors``, ``model.fp16-00001-of-00002.safetensors``."""

BUFFERS = (".position_ids", ".inv_freq", ".masked_bias")
"""Endings of tensors that old files hold and models compute themselves."""


NO_ID = ("Repo id must", "Incorrect path_or_model_id")
"""What the hub's client and transformers say of a local path that is not there."""
AGAIN = "Download or save the model again, or give one of this kind."


def load_complete(
    load: Callable[..., Any],
    source: str,
    *,
    strict: bool,
    error: type[UserError] = ConfigError,
    advice: str = AGAIN,
    accept: Callable[[Any], None] = lambda model: None,
    **settings: Any,
) -> Any:
    """Returns the model that ``load``, a ``from_pretrained`` of diffusers or transformers, loads.

    Args:
        load: It is called with the settings, and for its report of the tensors.
        source: The folder or name, for messages.
        strict: Whether every tensor of the file must be used. Otherwise heads that the model does not have may stay
            unused: a language model's file may hold a value head, a text encoder's the image half of CLIP.
        error: The error that is raised.
        advice: What to do about it.
        accept: Raises an error of its own where the model is of another kind than was wanted: its lack of tensors would
            say less.
        settings: Keywords of ``load``.

    Raises:
        UserError: A tensor is missing, of another shape, left over, or not finite, or an index leads out of its folder.
    """
    check_index(Path(source).expanduser(), error, advice)
    with quiet():
        model, report = load(**settings, output_loading_info=True)
    accept(model)
    kind = type(model).__name__
    faults = {
        "missing": sorted(map(_name, report.get("missing_keys") or ())),
        "of another shape": sorted(map(_name, report.get("mismatched_keys") or ())),
        "left over": _left_over(model, report.get("unexpected_keys") or (), strict),
    }
    if any(faults.values()):
        counts = [f"{len(names)} {fault} (first {names[0]})" for fault, names in faults.items() if names]
        raise error(
            f"{source} does not hold a complete {kind}: of its {len(model.state_dict())} tensors"
            f" {', '.join(counts)}. {advice}"
        )
    check_finite(model.state_dict(), source, error)
    return model


def load_pretrained(network: Any, source: str, **settings: Any) -> Any:
    """Returns a model of transformers, of a folder or a hub name, in half precision's files where there are no others.

    Args:
        network: A class with ``from_pretrained``.
        source: Folder or name.
        settings: Keywords of `load_complete`, and of ``from_pretrained``.
    """
    if opens_without_weights():
        place = {"revision": settings["revision"]} if settings.get("revision") else {}
        return build_without_weights(network, source, settings.get("dtype") or torch.float32, **place)
    variant = variant_of(Path(source).expanduser())
    load = partial(network.from_pretrained, source, variant=variant, ignore_mismatched_sizes=True)
    return load_complete(load, source, strict=False, **settings)


def variant_of(folder: Path) -> str | None:
    """Returns the variant of a folder that holds weights as variants only, such as ``"fp16"``; None where plain ones
    are there, or none at all. Raises ConfigError where there are several, and none of them is fp16.
    """
    names = [file.name for file in folder.iterdir()] if folder.is_dir() else []
    found = [match for name in names if (match := WEIGHTS.fullmatch(name))]
    variants = {match["new"] or match["old"] for match in found}
    if None in variants or not variants:
        return None
    if len(variants) > 1 and "fp16" not in variants:
        raise ConfigError(
            f"{folder} holds weights only as the variants {', '.join(sorted(variants))}. Rename the files of one to the"
            " plain name, such as diffusion_pytorch_model.safetensors."
        )
    return "fp16" if "fp16" in variants else variants.pop()


def check_finite(tensors: Mapping[str, Tensor], what: str, error: type[UserError] = ConfigError) -> None:
    """Raises ``error`` where a value is NaN or infinite, with the number of such tensors."""
    wrong = [key for key, value in tensors.items() if value.is_floating_point() and not _is_finite(value)]
    if wrong:
        raise error(
            f"{what} has values that are NaN or infinite in {len(wrong)} of {len(tensors)} tensors, first {wrong[0]}:"
            " whatever it computes is no number. Take an earlier state of the training that wrote it, or download it"
            " again; where float16 is too narrow for it, load it in bfloat16 or float32."
        )


@contextmanager
def one_sentence(what: str, error: type[UserError] = ConfigError, advice: str = "") -> Iterator[None]:
    """Turns the errors of a library that loads a model within the block into ``error``: what, why, advice.

    An error for users passes, and so does the lack of memory, which is no fault of the files.
    """
    try:
        yield
    except (UserError, MemoryError, torch.OutOfMemoryError):
        raise
    except ImportError as problem:
        raise error(f"{what} needs another package: {first_words(problem)}") from problem
    except Exception as problem:  # the loaders let errors of several libraries through
        raise error(f"{what}: {first_words(problem)}.{' ' if advice else ''}{advice}") from problem


def tensor_faults(expected: Mapping[str, Sequence[int]], state: Mapping[str, Tensor]) -> dict[str, list[str]]:
    """Returns by fault the names of tensors that are missing, of another shape, or left over; no other faults."""
    faults = {
        "missing": sorted(expected.keys() - state.keys()),
        "of another shape": sorted(
            key for key in expected.keys() & state.keys() if tuple(expected[key]) != tuple(state[key].shape)
        ),
        "left over": sorted(state.keys() - expected.keys()),
    }
    return {fault: names for fault, names in faults.items() if names}


def first_words(problem: BaseException) -> str:
    """Returns the first sentence of an error of a library, as one line of at most 300 printable characters. What
    follows is the library's advice, which does not hold here; a path that is not there is no wrong name of the hub's.
    """
    if str(problem).startswith(NO_ID):
        return "there is no such file or folder, and it is no id of the hub"
    lines = [line.strip() for line in str(problem).splitlines() if line.strip()]
    text = (lines[0] if lines else type(problem).__name__).partition(". ")[0]
    text = text if not isinstance(problem, KeyError) else f"{text} is missing"
    return "".join(c if c.isprintable() else "?" for c in text)[:300].rstrip(".")


def _is_finite(value: Tensor) -> bool:
    return bool((value.float() if value.itemsize == 1 else value).isfinite().all())  # float8 has no such test


def _left_over(model: nn.Module, names: Any, strict: bool) -> list[str]:
    """Returns the unused tensors that are a fault: all, or those inside a part that the model has."""
    unused = sorted(name for name in map(_name, names) if not name.endswith(BUFFERS))
    if strict:
        return unused
    body = getattr(model, "base_model", model)
    parts = {name.partition(".")[0] for network in (model, body) for name in network.state_dict()}
    return [name for name in unused if name.partition(".")[0] in parts]


def _name(entry: Any) -> str:
    """Returns a tensor's name; the libraries report some with their shapes."""
    return str(entry[0] if isinstance(entry, tuple | list) else entry)
