"""Builds a stock network of transformers around the tensors of a judge, without drawing weights first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from diffalign.errors import UserError
from diffalign.files.complete_weights import AGAIN, BUFFERS, tensor_faults
from diffalign.quiet import quiet


def working_dtype(device: str) -> torch.dtype:
    """Returns float32 on the CPU and bfloat16, in which these judges were trained, on accelerators."""
    return torch.float32 if torch.device(device).type == "cpu" else torch.bfloat16


def build(network: type, config: Any, state: Mapping[str, Tensor], source: str, device: str) -> Any:
    """Returns the network with the tensors, in evaluation mode and without gradient.

    Args:
        network: A class of transformers that a configuration constructs.
        config: The configuration.
        state: All of its tensors, no others.
        source: Where they come from, for messages.
        device: The device.

    Raises:
        UserError: Tensors are missing, left over, or of another shape; the message names them.
    """
    from accelerate import init_empty_weights

    with quiet(), init_empty_weights(include_buffers=False):
        model = network(config)
    expected = model.state_dict()
    state = {key: value for key, value in state.items() if key in expected or not key.endswith(BUFFERS)}
    refuse_other_tensors(
        {key: value.shape for key, value in expected.items()}, state, f"{source} does not hold a {network.__name__}"
    )
    dtype = working_dtype(device)
    model.load_state_dict({key: value.to(dtype) for key, value in state.items()}, assign=True)
    return model.eval().requires_grad_(False).to(device)


def refuse_other_tensors(expected: Mapping[str, Sequence[int]], state: Mapping[str, Tensor], what: str) -> None:
    """Raises UserError, which begins with ``what``, unless ``state`` has exactly the tensors of these shapes."""
    if faults := tensor_faults(expected, state):
        parts = [f"{len(names)} {fault} ({', '.join(names[:3])})" for fault, names in faults.items()]
        raise UserError(f"{what}: of its tensors {'; '.join(parts)}. {AGAIN}")


def head_layer(tensors: Mapping[str, Tensor], name: str = "") -> nn.Linear:
    """Returns a linear layer in float32 from ``{name}weight`` and, where there is one, ``{name}bias``."""
    weight, bias = tensors[f"{name}weight"].float(), tensors.get(f"{name}bias")
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None, device="meta")
    state = {"weight": weight} if bias is None else {"weight": weight, "bias": bias.float()}
    layer.load_state_dict(state, assign=True)
    return layer.requires_grad_(False)
