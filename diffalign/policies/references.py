"""References: what the policy is compared with. Three ways to have one, of different cost and of the same numbers.

    adapter_off   the base weights under the adapter; no memory; exact, because nothing else trains
    copy          a frozen second network; its bytes in memory
    stored        errors computed before training, two numbers per pair and visit; no memory and no time while training

Stored errors are exact and not an approximation: draws are a function of (seed, pair, visit), so the noise that a pair
will meet at its n-th visit is known beforehand.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from diffalign.data.cache import TensorCache, content_key
from diffalign.devices.budget import available_bytes, in_words, module_bytes
from diffalign.errors import RunError
from diffalign.policies.adapters import adapter_off
from diffalign.policies.config import ModelConfig
from diffalign.policies.networks import weights_digest


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
    """A second network with the weights that the policy starts from."""

    def __init__(self, module: nn.Module) -> None:
        self._module = copy.deepcopy(module).requires_grad_(False).eval()

    def describe(self) -> str:
        """One line."""
        return f"frozen copy (+{in_words(module_bytes(self._module))})"

    @contextmanager
    def network(self) -> Iterator[nn.Module]:
        """The copy."""
        yield self._module


class Pristine:
    """The policy's network itself, as long as no weight has moved: enough to compute what shall be stored."""

    def __init__(self, module: nn.Module) -> None:
        self._module = module
        self._versions = self._count()
        self._digest = weights_digest([module], exact=True)

    def describe(self) -> str:
        """One line."""
        return "stored errors (no extra memory; computed before the first step, for the planned visits)"

    @contextmanager
    def network(self) -> Iterator[nn.Module]:
        """The policy's network. Raises RunError once a weight has been written to."""
        if not self._untouched():
            raise RunError(
                "the reference's weights are gone: reference is 'stored', every weight trains, and training has begun."
                " Errors are stored before the first step (prepare_reference with the plan of visits); to ask the"
                " reference for anything later, set reference: copy."
            )
        yield self._module

    def _untouched(self) -> bool:
        """By torch's write counters; where they moved (a distributed wrapper writes equal values) by the values."""
        count = self._count()
        if count == self._versions:
            return True
        same = weights_digest([self._module], exact=True) == self._digest
        if same:
            self._versions = count
        return same

    def _count(self) -> int:
        return sum(parameter._version for parameter in self._module.parameters())


class StoredErrors:
    """Surrogate errors of the reference by pair and visit, in memory while training and on disk between runs.

    Args:
        cache: Where they are kept.
    """

    def __init__(self, cache: TensorCache) -> None:
        self.cache = cache
        self._known: dict[str, tuple[float, float]] = {}

    def missing(self, keys: Sequence[str]) -> list[str]:
        """Keys that have still to be computed; the others are read into memory."""
        absent = set(self.cache.missing(keys))
        for key in keys:
            if key not in absent and key not in self._known and (entry := self.cache.get(key)) is not None:
                self._known[key] = tuple(entry["errors"].tolist())  # type: ignore[assignment]
        return [key for key in keys if key not in self._known]

    def put(self, keys: Sequence[str], chosen: Tensor, rejected: Tensor) -> Mapping[str, dict[str, Tensor]]:
        """Takes errors ``(B,)`` into memory; returns the entries to write."""
        errors = torch.stack([chosen, rejected], dim=1).cpu()
        self._known |= {key: tuple(row.tolist()) for key, row in zip(keys, errors, strict=True)}
        return {key: {"errors": row} for key, row in zip(keys, errors, strict=True)}

    def get(self, keys: Sequence[str], device: torch.device) -> tuple[Tensor, Tensor] | None:
        """Errors ``(B,)`` of chosen and rejected candidates, or None when one of them is not known."""
        if any(key not in self._known for key in keys):
            return None
        errors = torch.tensor([self._known[key] for key in keys], device=device)
        return errors[:, 0], errors[:, 1]


def draw_key(seed: int, visit: int, pair_key: str, numerics: str) -> str:
    """Name of one stored result: the draw's coordinates and what the pair was encoded from."""
    return content_key(seed, visit, pair_key, numerics)


Reference = AdapterOff | FrozenCopy | Pristine


def choose_reference(config: ModelConfig, module: nn.Module, device: torch.device) -> tuple[str, Reference]:
    """The kind that ``config.reference`` names, or for ``"auto"`` the cheapest that is exact and fits in memory."""
    kind: str = config.reference
    if kind == "auto":
        kind = "adapter_off" if config.adapter is not None else _copy_or_stored(config, module, device)
    if kind == "copy":
        return kind, FrozenCopy(module)
    if kind == "stored" and config.adapter is None:
        return kind, Pristine(module)
    return kind, AdapterOff(module)


def _copy_or_stored(config: ModelConfig, module: nn.Module, device: torch.device) -> str:
    """A copy where it fits beside gradients and the two moments of Adam, each as large as the weights."""
    fits = 4 * module_bytes(module) <= available_bytes(device)
    return "copy" if fits or not config.use_cache else "stored"
