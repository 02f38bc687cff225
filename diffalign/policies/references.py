"""References: the models that the policy is compared with. Three ways to provide the initial model, which give the same
numbers at different costs, and one to provide a later one.

    adapter_off   the base weights under the adapter; no memory; exact, because nothing else trains
    copy          a frozen second network; its bytes in memory. Where only some weights train, copies of these
    stored        numbers computed before training; no memory and no time while training
    earlier       the policy's network with the tensors of an earlier checkpoint; as many bytes as train
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from diffalign.devices.device_memory import available_bytes, format_bytes, module_bytes
from diffalign.devices.movable import HOST, Movable
from diffalign.errors import RunError
from diffalign.policies.adapters import adapter_off
from diffalign.policies.config import BaseModelConfig
from diffalign.policies.module_utils import WriteCounter, weights_digest


class AdapterOff:
    """The policy's own base weights, without its adapter."""

    kept_bytes = 0
    """Bytes that a reference takes beside the policy's network."""

    def __init__(self, module: nn.Module) -> None:
        self._module = module

    def describe(self) -> str:
        """Returns one line for the header."""
        return "adapter switched off (no extra memory)"

    @contextmanager
    def network(self) -> Iterator[nn.Module]:
        """Lends the policy's network with its adapter switched off within the block."""
        with adapter_off(self._module):
            yield self._module


class FrozenCopy:
    """A second network with the weights that the policy starts from. It is loaded at its first use, so a loss without a
    reference does not need its memory.

    Args:
        load: Loads it, frozen, on its device.
        size: Its size in bytes.
    """

    def __init__(self, load: Callable[[], nn.Module], size: int) -> None:
        self._load, self.kept_bytes = load, size
        self._module: nn.Module | None = None
        self._away: Movable | None = None

    def describe(self) -> str:
        """Returns one line for the header."""
        return f"frozen copy (+{format_bytes(self.kept_bytes)})"

    @contextmanager
    def network(self) -> Iterator[nn.Module]:
        """Lends the copy."""
        if self._module is None:
            self._module = self._load()
            self._device = next(self._module.parameters()).device
        if self._away is not None:
            self._away.bring()
        yield self._module

    def send_away(self) -> None:
        """Moves the copy to host memory, until it is lent again."""
        if self._module is not None:
            module = self._module
            self._away = self._away or Movable(lambda: [module], self._device, present=True)
            self._away.send_away()


class UntouchedPolicy:
    """The policy's network itself, until a weight has moved: enough to compute the numbers to store."""

    kept_bytes = 0

    def __init__(self, module: nn.Module) -> None:
        self._module = module
        self._writes = WriteCounter(module.parameters())
        self._unchanged_at = self._writes()
        self._digest = weights_digest([module], exact=True)

    def describe(self) -> str:
        """Returns one line for the header."""
        return "stored numbers (no extra memory; computed before the first step)"

    @contextmanager
    def network(self) -> Iterator[nn.Module]:
        """Lends the policy's network. Raises RunError once a weight has changed."""
        if not self._untouched():
            raise RunError(
                "the reference's weights are gone: reference is 'stored', every weight trains, and training has begun."
                " Its numbers are stored before the first step (prepare_reference with the plan of visits). For a"
                " reference that can be computed later, set reference: copy."
            )
        yield self._module

    def _untouched(self) -> bool:
        """Compares the count of writes, and after writes the values: a distributed wrapper writes equal ones."""
        count = self._writes()
        if count == self._unchanged_at:
            return True
        same = weights_digest([self._module], exact=True) == self._digest
        if same:
            self._unchanged_at = count
        return same


class EarlierCheckpoint:
    """The policy's network with the trainable tensors of an earlier checkpoint: an adapter's, or every weight.

    Args:
        module: The policy's network, on its device when the reference's is lent.
        trainable: The parameters that the checkpoint's tensors replace.
        state: The tensors; they are copied to the parameters' device.
    """

    def __init__(self, module: nn.Module, trainable: Mapping[str, nn.Parameter], state: Mapping[str, Tensor]) -> None:
        self._module = module
        self._trainable = dict(trainable)
        self._checkpoint = {name: state[name].to(p.device, p.dtype, copy=True) for name, p in self._trainable.items()}

    def describe(self) -> str:
        """Returns one line for the header."""
        return f"an earlier checkpoint (+{format_bytes(self.kept_bytes)})"

    @property
    def kept_bytes(self) -> int:
        """Bytes of the tensors."""
        return sum(value.numel() * value.element_size() for value in self._checkpoint.values())

    @contextmanager
    def network(self) -> Iterator[nn.Module]:
        """Lends the policy's network; within the block its parameters point to the checkpoint's tensors. Nothing is
        copied, so afterwards they are bit for bit what they were.
        """
        own = {name: parameter.data for name, parameter in self._trainable.items()}
        for name, parameter in self._trainable.items():
            self._checkpoint[name] = self._checkpoint[name].to(parameter.device)  # the network may have moved
        try:
            for name, parameter in self._trainable.items():
                parameter.data = self._checkpoint[name]
            yield self._module
        finally:
            for name, parameter in self._trainable.items():
                parameter.data = own[name]

    def send_away(self) -> None:
        """Moves the tensors to host memory, until the network is lent again."""
        self._checkpoint = {name: value.to(HOST) for name, value in self._checkpoint.items()}


class TrainedTensorsCopy(EarlierCheckpoint):
    """The policy's network with copies of the tensors that train, as they are now. The others are shared with it."""

    def __init__(self, module: nn.Module, trainable: Mapping[str, nn.Parameter]) -> None:
        super().__init__(module, trainable, {name: parameter.detach() for name, parameter in trainable.items()})

    def describe(self) -> str:
        """Returns one line for the header."""
        return f"a copy of the weights that train (+{format_bytes(self.kept_bytes)}); the others are shared"


Reference = AdapterOff | FrozenCopy | UntouchedPolicy | EarlierCheckpoint


def choose_reference(
    config: BaseModelConfig, module: nn.Module, device: torch.device, load: Callable[[], nn.Module]
) -> tuple[str, Reference]:
    """Returns the reference of ``config.reference`` with its kind, for ``"auto"`` the cheapest that fits in memory.

    ``load`` loads the base network once more, for a copy of all its weights.
    """
    kind: str = config.reference
    if kind == "auto":
        kind = "adapter_off" if config.adapter is not None else _copy_or_stored(config, module, device)
    trains = {name: parameter for name, parameter in module.named_parameters() if parameter.requires_grad}
    if kind == "copy" and config.adapter is None and len(trains) < sum(1 for _ in module.parameters()):
        return kind, TrainedTensorsCopy(module, trains)
    if kind == "copy":
        return kind, FrozenCopy(load, module_bytes(module))
    if kind == "stored" and config.adapter is None:
        return kind, UntouchedPolicy(module)
    return kind, AdapterOff(module)


@contextmanager
def base_network(
    config: BaseModelConfig, module: nn.Module, reference: Reference, load: Callable[[], nn.Module]
) -> Iterator[nn.Module]:
    """Lends the network that the policy ``module`` started from, also if the reference is a later one or a table. It is
    loaded for the block if its weights are not in memory.
    """
    if config.adapter is not None:
        with AdapterOff(module).network() as network:
            yield network
    elif isinstance(reference, FrozenCopy | TrainedTensorsCopy):
        with reference.network() as network:
            yield network
    else:
        yield load()


def _copy_or_stored(config: BaseModelConfig, module: nn.Module, device: torch.device) -> str:
    """Returns "copy" if nothing can be stored, or if it fits next to the gradients and the two moments of Adam, each as
    large as the weights.
    """
    is_there = next(module.parameters()).device.type == device.type
    fits = (4 if is_there else 5) * module_bytes(module) <= available_bytes(device)
    return "copy" if fits or not config.may_store else "stored"
