"""The policies of the battery: one of each kind, with an adapter and with every weight trained, on tiny models."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from diffalign.data.records.pair import Pair
from diffalign.policies.adapters import AdapterConfig
from diffalign.policies.policy import (
    BatchLogps,
    LatentPolicy,
    Policy,
    SupportsContentDegree,
    SupportsNoiseProbe,
    SupportsSteps,
    no_progress,
)
from diffalign.randomness import Draw
from tests.tiny import tiny_pairs, tiny_sd, tiny_sdxl
from tests.tiny_text import chat_pairs, text_pairs, tiny_llm
from tests.tiny_video import FRAMES, tiny_animatediff, tiny_animatediff_sdxl, tiny_clip_pairs, tiny_modelscope
from tests.training.toy import ToyPolicy, toy_pairs

ADAPTER = AdapterConfig(rank=4)
ABILITIES = {
    "image": {LatentPolicy, SupportsNoiseProbe},
    "video": {LatentPolicy, SupportsNoiseProbe},
    "text": {SupportsSteps, SupportsContentDegree},
}
"""The optional protocols that a policy implements, by its medium."""


@dataclass(frozen=True)
class Case:
    """A policy and how it is opened.

    Args:
        open: Returns a fresh policy; keywords replace settings of its configuration.
        reopen: Returns the policy of what `Policy.save` wrote.
        pairs: Four pairs.
        sampling: Settings of `Policy.sample`; samples are compared as texts or tensors.
        candidates: Settings of `Policy.make_candidates`.
        other_weights: Returns a policy with another base; None where there is one base only.
        full: Whether every weight trains.
    """

    open: Callable[..., Policy]
    reopen: Callable[[Path], Policy]
    pairs: list[Pair]
    sampling: Mapping[str, Any]
    candidates: Mapping[str, Any] = field(default_factory=dict)
    other_weights: Callable[[], Policy] | None = None
    full: bool = False


def toy_case(folder: Path) -> Case:
    """The toy of the loop's tests."""

    def reopen(artifact: Path) -> Policy:
        policy = ToyPolicy()
        policy.load_state({"change": torch.tensor(json.loads(artifact.read_text())["change"])})
        return policy

    return Case(ToyPolicy, reopen, toy_pairs(4), {}, {"steps": 1})


def image_case(make: Callable[..., Path], adapter: AdapterConfig | None) -> Callable[[Path], Case]:
    """A denoiser of a tiny pipeline."""

    def case(folder: Path) -> Case:
        from diffalign.policies.diffusion.load import ModelConfig, load_aligned, load_policy

        model = make(folder / "model")

        def opened(path: Path = model, **settings: Any) -> Policy:
            values = {"adapter": adapter, "cache": folder / "cache", **settings}
            return load_policy(ModelConfig(path=str(path), **values), "cpu")

        def reopen(artifact: Path) -> Policy:
            if adapter is None:
                return opened(artifact)
            config = ModelConfig(path=str(model), cache=folder / "cache")
            return load_aligned(config, artifact, "cpu")

        return Case(
            opened,
            reopen,
            tiny_pairs(folder / "images"),
            {"steps": 2, "guidance": 1.0, "latents_only": True},
            {"steps": 1, "guidance": 1.0, "roundtrip": "samples"},
            lambda: opened(make(folder / "other", seed=1)),
            adapter is None,
        )

    return case


def video_case(make: Callable[..., Path], **weights: Any) -> Callable[[Path], Case]:
    """A text-to-video model of a tiny pipeline; ``weights`` are the settings of what trains."""

    def case(folder: Path) -> Case:
        from diffalign.policies.diffusion.load import VideoModelConfig, load_aligned, load_policy

        model = make(folder / "model")
        clip = {"frames": FRAMES}
        full = weights["adapter"] is None

        def opened(path: Path = model, **settings: Any) -> Policy:
            values = {**weights, "clip": clip, "cache": folder / "cache", **settings}
            if values["adapter"] is not None:
                values.pop("trains", None)
            return load_policy(VideoModelConfig(path=str(path), **values), "cpu")

        def reopen(artifact: Path) -> Policy:
            if full:
                return opened(artifact)
            config = VideoModelConfig(path=str(model), clip=clip, cache=folder / "cache")
            return load_aligned(config, artifact, "cpu")

        return Case(
            opened,
            reopen,
            tiny_clip_pairs(folder / "clips"),
            {"steps": 2, "guidance": 1.0, "latents_only": True},
            {"steps": 1, "guidance": 1.0},
            lambda: opened(make(folder / "other", seed=1)),
            full,
        )

    return case


def text_case(family: str, adapter: AdapterConfig | None) -> Callable[[Path], Case]:
    """A tiny language model."""

    def case(folder: Path) -> Case:
        from diffalign.policies.language.load import LanguageConfig, load_aligned, load_policy

        model = tiny_llm(folder / "model", family)

        def opened(path: Path = model, **settings: Any) -> Policy:
            values = {"adapter": adapter, "cache": folder / "cache", **settings}
            return load_policy(LanguageConfig(path=str(path), **values), "cpu")

        def reopen(artifact: Path) -> Policy:
            if adapter is None:
                return opened(artifact)
            config = LanguageConfig(path=str(model), cache=folder / "cache")
            return load_aligned(config, artifact, "cpu")

        return Case(
            opened,
            reopen,
            [*text_pairs(2), *chat_pairs(2)],
            {"max_new_tokens": 6},
            {"max_new_tokens": 6},
            lambda: opened(tiny_llm(folder / "other", family, seed=1)),
            adapter is None,
        )

    return case


CASES: dict[str, Callable[[Path], Case]] = {
    "toy": toy_case,
    "sd": image_case(tiny_sd, ADAPTER),
    "sd every weight": image_case(tiny_sd, None),
    "sdxl": image_case(tiny_sdxl, ADAPTER),
    "sdxl every weight": image_case(tiny_sdxl, None),
    "animatediff": video_case(tiny_animatediff, adapter=ADAPTER),
    "animatediff every weight": video_case(tiny_animatediff, adapter=None),
    "animatediff motion modules": video_case(tiny_animatediff, adapter=None, trains="motion"),
    "animatediff sdxl": video_case(tiny_animatediff_sdxl, adapter=ADAPTER),
    "modelscope": video_case(tiny_modelscope, adapter=ADAPTER),
    "modelscope every weight": video_case(tiny_modelscope, adapter=None),
    "llama": text_case("llama", ADAPTER),
    "gpt2": text_case("gpt2", ADAPTER),
    "llama every weight": text_case("llama", None),
}


class Bench:
    """A case with one policy that all laws share, its encoded pairs, a draw, and its log-probabilities at step 0."""

    def __init__(self, case: Case) -> None:
        self.case, self.pairs = case, case.pairs
        self.policy = case.open()
        self.policy.prepare(self.pairs, no_progress)
        self.state = self.policy.state()
        self.encoded, self.draw = (
            self.policy.encode(self.pairs),
            Draw(0, tuple(pair.id for pair in case.pairs), (0,) * 4),
        )
        self.at_start = numbers(self.policy.reference_logps(self.encoded, self.draw))


def numbers(batch: BatchLogps) -> Tensor:
    """Log-probabilities, ``(candidates, B)``, without gradient."""
    return torch.stack([candidate.logps.detach() for candidate in batch.candidates])


def total(batch: BatchLogps) -> Tensor:
    """The sum of all log-probabilities, with gradient."""
    return torch.stack([candidate.logps.sum() for candidate in batch.candidates]).sum()


def close(one: Tensor, other: Tensor) -> bool:
    """Equal but for rounding."""
    return torch.allclose(one, other, rtol=2e-5, atol=1e-5)
