"""References: what the policy is compared with. Three ways to have the initial model, of different cost and of the same
numbers, and one to have a later one.

    adapter_off   the base weights under the adapter; no memory; exact, because nothing else trains
    copy          a frozen second network; its bytes in memory
    stored        numbers computed before training; no memory and no time while training
    earlier       the policy's network with the tensors of an earlier checkpoint; as many bytes as train
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from diffalign.devices.budget import available_bytes, format_bytes, module_bytes
from diffalign.errors import RunError
from diffalign.policies.adapters import adapter_off
from diffalign.policies.config import BaseModelConfig
from diffalign.policies.module_utils import WriteCounter, weights_digest


class AdapterOff:
    """The policy's own base weights."""

    def __init__(self, module: nn.Module) -> None:
        self._module = module

    def describe(self) -> str:
        """One line."""
        return "adapter switched off (no extra memory)"

    @contextmanager
    def network(self) -> Iterator[nn.Module]:
        """The policy's network, its adapter off within the block."""
        with adapter_off(self._module):
            yield self._module


class FrozenCopy:
    """A second network with the weights that the policy starts from; loaded when it is first asked for, so that a loss
    without a reference never pays for it.

    Args:
        load: Loads it, frozen, on its device.
        size: Bytes that it will take.
    """

    def __init__(self, load: Callable[[], nn.Module], size: int) -> None:
        self._load, self._size = load, size
        self._module: nn.Module | None = None

    def describe(self) -> str:
        """One line."""
        return f"frozen copy (+{format_bytes(self._size)})"

    @contextmanager
    def network(self) -> Iterator[nn.Module]:
        """The copy."""
        if self._module is None:
            self._module = self._load()
        yield self._module


class UntouchedPolicy:
    """The policy's network itself, as long as no weight has moved: enough to compute what shall be stored."""

    def __init__(self, module: nn.Module) -> None:
        self._module = module
        self._writes = WriteCounter(module.parameters())
        self._seen = self._writes()
        self._digest = weights_digest([module], exact=True)

    def describe(self) -> str:
        """One line."""
        return "stored numbers (no extra memory; computed before the first step)"

    @contextmanager
    def network(self) -> Iterator[nn.Module]:
        """The policy's network. Raises RunError once a weight has been written to."""
        if not self._untouched():
            raise RunError(
                "the reference's weights are gone: reference is 'stored', every weight trains, and training has begun."
                " Its numbers are stored before the first step (prepare_reference with the plan of visits); to ask the"
                " reference for anything later, set reference: copy."
            )
        yield self._module

    def _untouched(self) -> bool:
        """By counting writes; where there were some (a distributed wrapper writes equal values) by the values."""
        count = self._writes()
        if count == self._seen:
            return True
        same = weights_digest([self._module], exact=True) == self._digest
        if same:
            self._seen = count
        return same


class EarlierCheckpoint:
    """The policy's network with the trainable tensors of an earlier checkpoint: an adapter's, or every weight.

    Args:
        module: The policy's network.
        trainable: The parameters that the checkpoint's tensors stand in for.
        state: The tensors; they stay as they are, on the parameters' device.
    """

    def __init__(self, module: nn.Module, trainable: Mapping[str, nn.Parameter], state: Mapping[str, Tensor]) -> None:
        self._module = module
        self._trainable = dict(trainable)
        self._held = {name: state[name].to(p.device, p.dtype, copy=True) for name, p in self._trainable.items()}

    def describe(self) -> str:
        """One line."""
        size = sum(value.numel() * value.element_size() for value in self._held.values())
        return f"an earlier checkpoint (+{format_bytes(size)})"

    @contextmanager
    def network(self) -> Iterator[nn.Module]:
        """The policy's network; within the block its parameters point to the checkpoint's tensors. Nothing is copied,
        so afterwards they hold what they held, to the bit."""
        kept = {name: parameter.data for name, parameter in self._trainable.items()}
        try:
            for name, parameter in self._trainable.items():
                parameter.data = self._held[name]
            yield self._module
        finally:
            for name, parameter in self._trainable.items():
                parameter.data = kept[name]


Reference = AdapterOff | FrozenCopy | UntouchedPolicy | EarlierCheckpoint


def choose_reference(
    config: BaseModelConfig, module: nn.Module, device: torch.device, load: Callable[[], nn.Module]
) -> tuple[str, Reference]:
    """The kind that ``config.reference`` names, or for ``"auto"`` the cheapest that is exact and fits in memory.

    ``load`` loads the base network once more, for a copy.
    """
    kind: str = config.reference
    if kind == "auto":
        kind = "adapter_off" if config.adapter is not None else _copy_or_stored(config, module, device)
    if kind == "copy":
        return kind, FrozenCopy(load, module_bytes(module))
    if kind == "stored" and config.adapter is None:
        return kind, UntouchedPolicy(module)
    return kind, AdapterOff(module)


@contextmanager
def base_network(
    config: BaseModelConfig, module: nn.Module, reference: Reference, load: Callable[[], nn.Module]
) -> Iterator[nn.Module]:
    """The network that the policy ``module`` started from, also where the reference is another one by now or only a
    table; loaded for the occasion where nothing else holds its weights."""
    if config.adapter is not None:
        with AdapterOff(module).network() as network:
            yield network
    elif isinstance(reference, FrozenCopy):
        with reference.network() as network:
            yield network
    else:
        yield load()


def _copy_or_stored(config: BaseModelConfig, module: nn.Module, device: torch.device) -> str:
    """A copy where nothing can be stored, or where it fits beside gradients and the two moments of Adam, each as large
    as the weights."""
    fits = 4 * module_bytes(module) <= available_bytes(device)
    return "copy" if fits or not config.may_store else "stored"
