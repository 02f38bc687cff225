"""A policy whose samples are a plain function of (weights, prompt, seed), and which records its requests."""

from __future__ import annotations

from contextlib import contextmanager

import torch

from diffalign.data.records.pair import Pair
from diffalign.data.storage.cached_candidate import CachedCandidate
from diffalign.pairs.source import RoundContext
from diffalign.randomness import stream


class Waiting:
    """What several threads that stand for processes wait at, as accelerate's state."""

    def __init__(self, barrier) -> None:
        self.wait_for_everyone = lambda: barrier.wait()


class FakePolicy:
    """Raises after ``raise_after`` samples. Its trainable state is one matrix, which :meth:`learn` changes."""

    def __init__(self, raise_after: int | None = None) -> None:
        self.weights = {"lora.a": torch.arange(6.0).reshape(2, 3) / 7, "half": torch.ones(3, dtype=torch.bfloat16)}
        self.reference: dict[str, torch.Tensor] | None = None
        self.raise_after = raise_after
        self.requests: list[tuple[str, int]] = []
        self.batches: list[int] = []
        self.settings: list[dict] = []
        self.states = self.sampling_blocks = 0

    def learn(self, steps: int = 1) -> None:
        self.weights = {name: value + steps for name, value in self.weights.items()}

    def fingerprint(self) -> str:
        return "fake"

    def state(self):
        self.states += 1
        return {name: value.clone() for name, value in self.weights.items()}

    def set_reference(self, state) -> None:
        self.reference = None if state is None else dict(state)

    @contextmanager
    def sampling(self):
        self.sampling_blocks += 1
        yield

    def make_candidates(self, prompts, seeds, store, keys, *, reference, **settings):
        assert reference and self.reference is not None
        self.batches.append(len(prompts))
        self.settings.append(settings)
        made = {}
        for prompt, seed, key in zip(prompts, seeds, keys, strict=True):
            if self.raise_after is not None and len(self.requests) >= self.raise_after:
                raise KeyboardInterrupt
            self.requests.append((prompt, seed))
            made[key] = {"latent": answer(self.reference, prompt, seed)}
        store.put_many(made)
        return [CachedCandidate(str(store.root), store.maker, key) for key in keys]


def answer(weights, prompt: str, seed: int) -> torch.Tensor:
    """Returns the sample of a network with these weights for a prompt and a seed."""
    noise = stream(seed, prompt, 0, "fake").standard_normal((2, 3), dtype="float32")
    return weights["lora.a"] * torch.from_numpy(noise) + len(prompt)


def fake_context(policy, folder, **changes) -> RoundContext:
    """Returns a round context with seed 5 that ignores progress."""
    return RoundContext(**{"policy": policy, "folder": folder, "seed": 5, "progress": lambda *_: None, **changes})


def some_pairs(count: int = 10) -> list[Pair]:
    """Returns pairs of texts with scores, two for each prompt."""
    scores = {"chosen": {"judge": 2.0}, "rejected": {"judge": 1.0}, "pair": {"margin": 1.0}}
    return [Pair(f"p{k}", f"prompt {k // 2}", f"good {k}", f"bad {k}", 0.8, scores) for k in range(count)]
