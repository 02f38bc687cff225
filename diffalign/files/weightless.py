"""Models without their weights: the shapes of a configuration, for a plan of memory on a machine that cannot hold them.

Within the block every network that is opened has parameters of the right shapes and types that take no memory: each is
one zero, repeated. They can be counted and followed without values, not trained; no file of weights is read.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor, nn

from diffalign.quiet import quiet

_OPENING: ContextVar[bool] = ContextVar("opening without weights", default=False)


@contextmanager
def without_weights() -> Iterator[None]:
    """Opens networks without their weights within the block, in host memory."""
    token = _OPENING.set(True)
    try:
        yield
    finally:
        _OPENING.reset(token)


def opens_without_weights() -> bool:
    """Returns whether networks are opened without their weights now."""
    return _OPENING.get()


def build_without_weights(network: Any, source: str, dtype: torch.dtype, **place: Any) -> Any:
    """Returns a network of a configuration, in evaluation mode, as ``from_pretrained`` does.

    Args:
        network: A class of diffusers, or one of transformers, also an ``AutoModel``.
        source: Folder or name.
        dtype: Of its floating point weights.
        place: ``subfolder`` and ``revision``, where there are any.
    """
    with quiet():
        if network.__module__.partition(".")[0] == "transformers":
            from transformers import AutoConfig

            kind = getattr(network, "config_class", None) or AutoConfig
            config = kind.from_pretrained(source, **place)
            create = network.from_config if hasattr(network, "from_config") else network._from_config
        else:
            config = network.load_config(source, **place)
            create = network.from_config
        with torch.device("meta"):
            model = create(config)
        model = model.to(dtype)
    return with_repeated_zeros(model).eval()


def with_repeated_zeros(model: nn.Module) -> nn.Module:
    """Gives every parameter and buffer on the meta device a zero as its values; tied ones stay tied."""
    made: dict[int, Tensor] = {}
    for module in model.modules():
        for tensors in (module._parameters, module._buffers):
            for name, tensor in tensors.items():
                if tensor is None or not tensor.is_meta:
                    continue
                if id(tensor) not in made:
                    zeros: Tensor = torch.zeros((), dtype=tensor.dtype).expand(tensor.shape)
                    made[id(tensor)] = nn.Parameter(zeros, False) if isinstance(tensor, nn.Parameter) else zeros
                tensors[name] = made[id(tensor)]  # type: ignore[assignment]
    return model
