"""Files of a language policy: an adapter's folder or a whole model's, with the heads that train next to it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from diffalign.policies.language.network.content_degree_head import save_head
from diffalign.policies.language.network.network import LanguageNetwork
from diffalign.policies.language.network.token_masks import load_masks, save_masks
from diffalign.quiet import quiet
from diffalign.sharing.peft_folder import save_peft
from diffalign.sharing.read_adapter import load_into
from diffalign.sharing.shared_adapter import SharedAdapter


def save_adapter(network: LanguageNetwork, folder: Path, metadata: Mapping[str, Any]) -> Path:
    """Writes an adapter's folder as peft does, and returns its path."""
    path = save_peft(network.model, folder, metadata)
    _save_heads(network, path)
    return path


def save_model(network: LanguageNetwork, tokenizer: Any, folder: Path) -> None:
    """Writes model and tokenizer as transformers does."""
    with quiet():
        network.model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
    _save_heads(network, folder)


def load_adapter(network: LanguageNetwork, path: Path | SharedAdapter, base: tuple[str, str] | None) -> dict[str, Any]:
    """Loads an adapter's weights into the network and returns the folder's metadata.

    Args:
        network: A network with an adapter of the same shape.
        path: The adapter's folder, or what was read from it.
        base: Fingerprint and name of the base model that the adapter must belong to. None: any.
    """
    adapter = load_into(network.model, path, base=base)
    if network.masks is not None:
        load_masks(network.masks, adapter.file.parent)
    return adapter.about


def _save_heads(network: LanguageNetwork, folder: Path) -> None:
    if network.masks is not None:
        save_masks(network.masks, folder)
    if network.degree is not None:
        save_head(network.degree, folder)
