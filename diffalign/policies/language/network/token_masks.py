"""Token masks: the weight of each token of a response in the reward, and in the divergence from the reference.

    activations    of the reference: a mean over features at each token, rescaled to [0, 1] within the response, then
                   averaged over the layers of a kind and over kinds; nothing is learned
    learned        from the reference's states: a small network that trains with the policy, one mask for both terms
    learned_independent      the same with a network for each term

A mask belongs to a token as its log-probability does: it is read at the position that predicts it.

Source: Christopoulou et al. 2024 (arXiv 2410.05102), MaPO and SparsePO.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from diffalign.errors import ConfigError, RunError
from diffalign.files.atomic import write_atomically
from diffalign.files.complete_weights import check_finite
from diffalign.files.model_files import read_tensors
from diffalign.files.text_files import is_file
from diffalign.policies.language.config import MaskConfig

MODULE_NAMES: dict[str, tuple[str, ...]] = {
    "attention": ("self_attn", "attn", "attention"),
    "queries": ("q_proj",),
    "keys": ("k_proj",),
    "values": ("v_proj",),
    "mlp": ("act_fn", "act", "activation_fn"),
}
"""Names, within a layer, of the module whose output an activation is."""

MASK_FILE = "masks.safetensors"
"""The file of a learned mask network, next to the weights that it was trained with."""


class MaskNetwork(nn.Module):
    """Learned masks: the states of every layer become one number per token, and these become one mask, 0 or more.

        mask_n = relu( sum_L c_L relu( w_L . norm(h_Ln) + b_L ) )

    It starts at 1 for every token, so a run starts as TDPO does. (A random start leaves half of such networks at 0 for
    every token, without a gradient. The published dropout of 0.01 is left out, so that a run follows from its seed.)

    Args:
        layers: Number of layers whose states it reads.
        width: Size of a state.
        terms: 1 for a common mask, 2 for one each.
    """

    def __init__(self, layers: int, width: int, terms: int) -> None:
        super().__init__()
        self.norm = nn.ModuleList(nn.LayerNorm(width) for _ in range(terms))
        self.weight = nn.Parameter(torch.zeros(terms, layers, width))
        self.bias = nn.Parameter(torch.ones(terms, layers))
        self.combine = nn.Parameter(torch.full((terms, layers), 1.0 / layers))

    def forward(self, states: Tensor) -> Tensor:
        """Returns ``(2, N)`` masks, float32, from the states ``(L, N, D)``."""
        with torch.autocast(states.device.type, enabled=False):
            states = states.to(self.weight.dtype)
            masks = []
            for norm, weight, bias, combine in zip(self.norm, self.weight, self.bias, self.combine, strict=True):
                per_layer = torch.relu(torch.einsum("lnd,ld->ln", norm(states), weight) + bias[:, None])
                masks.append(torch.relu((combine[:, None] * per_layer).sum(0)))
        return torch.stack([masks[0], masks[-1]])


def save_masks(network: MaskNetwork, folder: Path) -> None:
    """Writes a mask network into a folder."""
    from safetensors.torch import save_file

    tensors = {name: value.detach().cpu().contiguous() for name, value in network.state_dict().items()}
    write_atomically(folder / MASK_FILE, lambda path: save_file(tensors, path))


def load_masks(network: MaskNetwork, folder: Path) -> None:
    """Loads a mask network from a folder. Raises ConfigError if there is none, or one with other shapes."""
    if not is_file(folder / MASK_FILE):
        raise ConfigError(f"{folder} holds no {MASK_FILE}, so no masks were learned with it. Leave model.masks out")
    tensors, _ = read_tensors(folder / MASK_FILE)
    if {n: v.shape for n, v in tensors.items()} != {n: v.shape for n, v in network.state_dict().items()}:
        raise ConfigError(
            f"{folder / MASK_FILE} holds masks of another kind or another model than model.masks says. Give the kind "
            "and layers of the run that wrote it."
        )
    check_finite(tensors, str(folder / MASK_FILE))
    network.load_state_dict(tensors)


def make_mask_network(config: MaskConfig, text_config: Any) -> MaskNetwork:
    """Returns a mask network for a model with the given text configuration."""
    layers = text_config.num_hidden_layers if config.layers == "all" else 1
    return MaskNetwork(layers, text_config.hidden_size, 1 if config.kind == "learned" else 2)


def activation_masks(activations: Mapping[str, Sequence[Tensor]], responses: Tensor, count: int) -> Tensor:
    """Returns ``(2, N)``: activations rescaled within each of ``count`` responses, averaged over layers, then kinds."""
    kinds = [
        torch.stack([rescaled(one, responses, count) for one in layers]).mean(0) for layers in activations.values()
    ]
    mask = torch.stack(kinds).mean(0)
    return torch.stack([mask, mask])


def rescaled(values: Tensor, responses: Tensor, count: int) -> Tensor:
    """Rescales values to [0, 1] within each response: the smallest becomes 0 and the largest 1.

    Args:
        values: ``(N,)``.
        responses: ``(N,)`` the response of each value.
        count: Number of responses.

    Facts: equal for ``a x + b`` with any a > 0, so it does not matter whether values were standardised first. If all
        values of a response are equal (a response of one token), each becomes 1.
    """
    values = values.double() if values.dtype == torch.float64 else values.float()
    low, high = (
        values.new_zeros(count).scatter_reduce(0, responses, values, how, include_self=False)
        for how in ("amin", "amax")
    )
    low, span = low[responses], (high - low)[responses]
    return torch.where(span > 0.0, (values - low) / span.clamp(min=torch.finfo(span.dtype).tiny), 1.0)


def decoder_layers(backbone: nn.Module, count: int) -> nn.ModuleList:
    """Returns the decoder layers of a model. Raises RunError if there is no list of that length."""
    for module in backbone.modules():
        if isinstance(module, nn.ModuleList) and len(module) == count:
            return module
    name = type(backbone).__name__
    raise RunError(
        f"{name} has no list of {count} modules, as many as its layers, which masks and offload: blocks read"
    )


@contextmanager
def record_activations(layers: nn.ModuleList, kinds: Sequence[str]) -> Iterator[dict[str, list[Tensor]]]:
    """Records outputs of the layers' modules within the block: by kind, one tensor per layer, averaged over features.

    The kind ``"states"`` is the whole output of each layer.
    """
    recorded: dict[str, list[Tensor]] = {}
    hooks: list[Any] = []

    def record(module: nn.Module, kind: str) -> None:
        def hook(_: Any, __: Any, output: Any) -> None:
            value = (output[0] if isinstance(output, tuple) else output).detach()
            recorded.setdefault(kind, []).append(value if kind == "states" else value.float().mean(-1))

        hooks.append(module.register_forward_hook(hook))

    for layer in layers:
        modules = dict(layer.named_modules())
        for kind in kinds:
            if kind in ("residual", "states"):
                record(layer, kind)
            for name, module in modules.items():
                if name.rpartition(".")[2] in MODULE_NAMES.get(kind, ()):
                    record(module, kind)
    try:
        yield recorded
    finally:
        for hook in hooks:
            hook.remove()
