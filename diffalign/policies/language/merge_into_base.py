"""Merges an adapter into the language model that it was trained on, to train on top of it or to share one plain model.

W' = W + scale B A
"""

from __future__ import annotations

from pathlib import Path

from diffalign.files.atomic import replace_folder
from diffalign.files.complete_weights import check_finite
from diffalign.policies.adapters import merge_adapter
from diffalign.policies.language.config import LanguageConfig
from diffalign.policies.language.load import load_aligned


def merge_into_base(config: LanguageConfig, adapter: Path, folder: Path) -> Path:
    """Writes the model of ``config`` with the adapter in its weights, and its tokenizer, and returns the folder.

    Raises:
        ConfigError: The model or the adapter cannot be read, or the adapter is of another base.
    """
    policy = load_aligned(config, adapter, "cpu")
    merge_adapter(policy.network.model)
    check_finite(policy.network.model.state_dict(), "the merged model")
    return replace_folder(folder, policy.write)
