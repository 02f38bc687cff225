"""Tiny models with an adapter that changes them, and detectors and functions that evaluators load by name."""

from pathlib import Path

import torch

from diffalign.policies.adapters import AdapterConfig
from tests.tiny import tiny_sd
from tests.tiny_text import tiny_llm

ADAPTER = AdapterConfig(rank=2, alpha=2)


def tiny_aligned_images(folder: Path) -> tuple[str, str]:
    """Returns a tiny image model and an adapter of it."""
    from diffalign.policies.diffusion.load import ModelConfig, load_policy

    model = str(tiny_sd(folder / "model"))
    return model, _adapter(load_policy(ModelConfig(path=model, adapter=ADAPTER, cache=folder / "cache"), "cpu"), folder)


def tiny_aligned_texts(folder: Path) -> tuple[str, str]:
    """Returns a tiny language model and an adapter of it."""
    from diffalign.policies.language.load import LanguageConfig, load_policy

    model = str(tiny_llm(folder / "llm"))
    config = LanguageConfig(path=model, adapter=ADAPTER, cache=folder / "cache")
    return model, _adapter(load_policy(config, "cpu"), folder)


def _adapter(policy, folder: Path) -> str:
    with torch.no_grad():
        for number, parameter in enumerate(policy.trainable().values()):
            parameter += 0.05 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(number))
    return str(policy.save(folder / "adapter", {"method": "test"}))


def two_clocks(path):
    """A detector that sees two clocks, one of them doubtful, on every image."""
    return {"clock": [((0, 0, 4, 4), 0.95), ((4, 4, 8, 8), 0.5)]}


def broken_detector(path):
    """A detector that fails."""
    raise RuntimeError("out of order")
