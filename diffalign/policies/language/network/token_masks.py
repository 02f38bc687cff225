"""Masks: how much each token of a response counts in the reward, and how much in the divergence from the reference.

    activations    of the reference: a mean over features at each token, rescaled to [0, 1] within the response, then
                   means over the layers of a kind and over kinds; nothing is learnt
    learned        of the reference's states: a small network that trains beside the policy, one mask for both terms
    learned_independent      the same with a network for each term

A mask belongs to a token as its log-probability does: it is read at the place that predicts it.
Source: Christopoulou et al. 2024 (arXiv 2410.05102), MaPO and SparsePO.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, model_validator
from torch import Tensor, nn

from diffalign.errors import ConfigError, RunError
from diffalign.sharing.atomic import write_atomically

Kind = Literal["residual", "attention", "queries", "keys", "values", "mlp", "logits"]
KINDS: tuple[Kind, ...] = ("residual", "attention", "queries", "keys", "values", "mlp", "logits")
_WITHIN: dict[Kind, tuple[str, ...]] = {
    "attention": ("self_attn", "attn", "attention"),
    "queries": ("q_proj",),
    "keys": ("k_proj",),
    "values": ("v_proj",),
    "mlp": ("act_fn", "act", "activation_fn"),
}
"""What a layer calls the module whose output a kind is."""


MASKS = "masks.safetensors"
"""The file of a learned mask network, beside the weights that it was trained with."""


class MaskConfig(BaseModel):
    """Where token masks come from.

    Args:
        kind: ``"activations"``, ``"learned"`` or ``"learned_independent"``, see above.
        of: Activations that are read; those that an architecture has not (GPT-2 knows no separate queries) are left
            out.
        layers: Of learned masks: whether ``"all"`` layers are read, or the ``"last"`` alone.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["activations", "learned", "learned_independent"]
    of: tuple[Kind, ...] = KINDS
    layers: Literal["all", "last"] = "all"

    @model_validator(mode="after")
    def _fits(self) -> MaskConfig:
        if self.learned and self.of != KINDS:
            raise ValueError(f"masks of kind '{self.kind}' read states, not activations: leave masks.of out")
        if not self.learned and self.layers != "all":
            raise ValueError("masks.layers is for learned masks; activations are read in all layers. Leave it out")
        if not self.of:
            raise ValueError(f"masks.of names the activations to read, of {', '.join(KINDS)}; it is empty")
        return self

    @property
    def learned(self) -> bool:
        """Whether a network for them trains."""
        return self.kind != "activations"

    def describe(self) -> str:
        """One line for a header."""
        if not self.learned:
            return f"from the reference's activations ({', '.join(self.of)})"
        whose = "all layers" if self.layers == "all" else "the last layer"
        return f"learned from {whose}, {'one for each term' if self.kind != 'learned' else 'one for both terms'}"


class MaskNetwork(nn.Module):
    """Learned masks: every layer's states become one number per token, and these one mask, 0 or more.

        mask_n = relu( sum_L c_L relu( w_L . norm(h_Ln) + b_L ) )

    It begins at 1 for every token, so a run starts as TDPO does. (A random start leaves half of such networks at 0 for
    every token, where no gradient wakes them. The dropout of 0.01 that was published is left out: a run follows from
    its seed.)

    Args:
        layers: How many layers' states it is given.
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
        """``(2, N)`` masks, float32, from the states ``(L, N, D)``."""
        with torch.autocast(states.device.type, enabled=False):
            states = states.to(self.weight.dtype)
            found = []
            for norm, weight, bias, combine in zip(self.norm, self.weight, self.bias, self.combine, strict=True):
                each = torch.relu(torch.einsum("lnd,ld->ln", norm(states), weight) + bias[:, None])
                found.append(torch.relu((combine[:, None] * each).sum(0)))
        return torch.stack([found[0], found[-1]])


def save_masks(network: MaskNetwork, folder: Path) -> None:
    """Writes a mask network into a folder."""
    from safetensors.torch import save_file

    tensors = {name: value.detach().cpu().contiguous() for name, value in network.state_dict().items()}
    write_atomically(folder / MASKS, lambda path: save_file(tensors, path))


def load_masks(network: MaskNetwork, folder: Path) -> None:
    """Puts a folder's masks back. Raises ConfigError where it has none, or those of another shape."""
    from safetensors.torch import load_file

    if not (folder / MASKS).is_file():
        raise ConfigError(f"{folder} holds no {MASKS}, so no masks were learnt with it. Leave model.masks out")
    tensors = load_file(folder / MASKS)
    if {n: v.shape for n, v in tensors.items()} != {n: v.shape for n, v in network.state_dict().items()}:
        raise ConfigError(
            f"{folder / MASKS} holds masks of another kind or another model than model.masks says. Give the kind and "
            "layers of the run that wrote it."
        )
    network.load_state_dict(tensors)


def mask_network(config: MaskConfig, model: Any) -> MaskNetwork:
    """The network that learns masks of a model, given the configuration of its text."""
    layers = model.num_hidden_layers if config.layers == "all" else 1
    return MaskNetwork(layers, model.hidden_size, 1 if config.kind == "learned" else 2)


def activation_masks(activations: Mapping[str, Sequence[Tensor]], owners: Tensor, count: int) -> Tensor:
    """``(2, N)``: activations, rescaled within each of ``count`` responses, averaged over layers and then kinds."""
    kinds = [torch.stack([rescaled(one, owners, count) for one in layers]).mean(0) for layers in activations.values()]
    mask = torch.stack(kinds).mean(0)
    return torch.stack([mask, mask])


def rescaled(values: Tensor, owners: Tensor, count: int) -> Tensor:
    """To [0, 1] within each response: the least becomes 0 and the largest 1.

    Args:
        values: ``(N,)``.
        owners: ``(N,)`` the response that each belongs to.
        count: How many responses there are.

    Facts: equal for ``a x + b`` with any a > 0, so it does not matter whether values were standardised first. Where all
        are equal (a response of one token) nothing tells them apart, and each is 1.
    """
    values = values.double() if values.dtype == torch.float64 else values.float()
    low, high = (
        values.new_zeros(count).scatter_reduce(0, owners, values, how, include_self=False) for how in ("amin", "amax")
    )
    low, span = low[owners], (high - low)[owners]
    return torch.where(span > 0.0, (values - low) / span.clamp(min=torch.finfo(span.dtype).tiny), 1.0)


def read_layers(body: nn.Module, count: int) -> nn.ModuleList:
    """The decoder layers of a model. Raises RunError where there is no list of that length."""
    for module in body.modules():
        if isinstance(module, nn.ModuleList) and len(module) == count:
            return module
    raise RunError(f"masks read the model's {count} layers, but {type(body).__name__} has no list of so many modules")


@contextmanager
def heard(layers: nn.ModuleList, kinds: Sequence[str]) -> Iterator[dict[str, list[Tensor]]]:
    """Within the block, outputs of layers' modules as they come: by kind, one for each layer, a mean over features.
    The kind ``"states"`` is what each layer leaves, whole."""
    found: dict[str, list[Tensor]] = {}
    hooks: list[Any] = []

    def listen(module: nn.Module, kind: str) -> None:
        def hook(_: Any, __: Any, output: Any) -> None:
            value = (output[0] if isinstance(output, tuple) else output).detach()
            found.setdefault(kind, []).append(value if kind == "states" else value.float().mean(-1))

        hooks.append(module.register_forward_hook(hook))

    for layer in layers:
        named = dict(layer.named_modules())
        for kind in kinds:
            if kind in ("residual", "states"):
                listen(layer, kind)
            for name, module in named.items():
                if name.rpartition(".")[2] in _WITHIN.get(kind, ()):  # type: ignore[call-overload]
                    listen(module, kind)
    try:
        yield found
    finally:
        for hook in hooks:
            hook.remove()
