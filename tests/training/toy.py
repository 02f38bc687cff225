"""The smallest policy behind the seam: a linear denoiser of 6 numbers, and what tests of the loop need around it.

Also a program: ``python toy.py OUTPUT [key=value ...]`` trains it, so that a test can kill it or start it twice.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor, nn

from diffalign.data.records import Pair
from diffalign.latents.draws import stream
from diffalign.losses.scores import Scores
from diffalign.policies.policy import Scored

WIDTH = 6


class ToyConfig(BaseModel):
    """What a recipe says of the toy."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    path: str
    latents: Any = "forward"


class ToyModule(nn.Module):
    """``x -> (base + change) x``; the change starts at zero, as an adapter does."""

    def __init__(self) -> None:
        super().__init__()
        base = stream(0, "toy", 0, "base").standard_normal((WIDTH, WIDTH), dtype="float32") / WIDTH
        self.register_buffer("base", torch.from_numpy(base))
        self.change = nn.Parameter(torch.zeros(WIDTH, WIDTH))

    def forward(self, x: Tensor) -> Tensor:
        return x @ (self.base + self.change).T


class ToyPolicy:
    """Implements the seam. ``poison`` names a pair without a finite loss; ``die_at`` kills the process at a call."""

    def __init__(self, poison: str = "", die_at: int = 0, shout: tuple[int, int] = (0, 0)) -> None:
        self.module: nn.Module = ToyModule()
        self._change = self.module.change
        self.poison, self.die_at, self.shout = poison, die_at, shout
        self.calls = 0
        self.prepared = 0
        self.seen: list[tuple[str, int]] = []

    def describe(self) -> dict[str, str]:
        return {"model": "toy", "reference": "its base"}

    def fingerprint(self) -> str:
        return "toy"

    def prepare(self, pairs, progress) -> None:
        self.prepared = len(pairs)
        progress("toy latents", len(pairs), len(pairs))

    def encode(self, pairs) -> Any:
        rows = [stream(0, pair.id, 0, "toy").standard_normal((2, WIDTH), dtype="float32") for pair in pairs]
        sides = torch.eye(2).repeat_interleave(WIDTH // 2, dim=1)  # the two candidates lie in different directions
        return torch.stack([torch.from_numpy(row) for row in rows]) + 3 * sides

    def score(self, encoded, draw) -> Scored:
        self.calls += 1
        self.seen += list(zip(draw.ids, draw.visits, strict=True))
        if self.die_at and self.calls == self.die_at:
            os.kill(os.getpid(), signal.SIGKILL)
        scored = self._scored(self.module, encoded, draw)
        if self.shout[0] <= self.calls < self.shout[1]:
            loud = [Scores(c.logps * 1e6) for c in scored.candidates]
            scored = Scored(tuple(loud), scored.info)
        return scored

    def reference(self, encoded, draw) -> Scored:
        base = self._bare.base
        return self._scored(lambda x: x @ base.T, encoded, draw)

    def _scored(self, network, encoded, draw) -> Scored:
        level = draw.uniform("timestep").float()
        noise = draw.normal("noise", (WIDTH,))[:, None].expand(-1, 2, -1)
        noisy = (1 - level)[:, None, None] * encoded + level[:, None, None] * noise
        errors = (network(noisy.reshape(-1, WIDTH)).reshape(noisy.shape) - noise).float().square().mean(dim=-1)
        poisoned = torch.tensor([float("nan") if key == self.poison else 1.0 for key in draw.ids])
        errors = errors * poisoned[:, None]
        return Scored((Scores(-errors[:, 0] / 2), Scores(-errors[:, 1] / 2)), {"level": level})

    @property
    def _bare(self) -> ToyModule:
        return getattr(self.module, "module", self.module)

    def trainable(self) -> dict[str, nn.Parameter]:
        return {"change": self._change}

    def state(self) -> dict[str, Tensor]:
        return {"change": self._change.detach().clone()}

    def load_state(self, state) -> None:
        with torch.no_grad():
            self._change.copy_(state["change"])

    def sampling(self):
        return nullcontext()

    def sample(self, prompts, seeds, *, reference=False, **settings) -> list[str]:
        return [
            f"{prompt} {seed} {float(self._change.detach().abs().sum()):.6f}"
            for prompt, seed in zip(prompts, seeds, strict=True)
        ]

    def save(self, folder, about) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / "toy.json"
        path.write_text(json.dumps({"change": self._change.tolist(), "about": dict(about)}))
        return path


def toy_pairs(count: int = 12) -> list[Pair]:
    """Pairs whose candidates the toy makes up from their ids."""
    return [Pair(id=f"p{k}", prompt=f"prompt {k % 5}", chosen="c", rejected="r") for k in range(count)]


def toy_recipe(output: Path, **changes: Any):
    """A recipe of 10 steps; ``train__steps=5`` changes a value."""
    from diffalign.training.config import make_recipe

    register()
    values: dict[str, Any] = {
        "model": {"kind": "toy", "path": "toy"},
        "data": {"train": "memory"},
        "loss": {"name": "logistic", "beta": 50.0},
        "train": {"steps": 10, "batch_size": 8, "micro_batch_size": 4, "learning_rate": 0.01, "ema_decay": 0.9},
        "log": {"every": 2},
        "checkpoint": {"every": 5},
        "output": str(output),
    }
    for key, value in changes.items():
        section, _, name = key.partition("__")
        if name:
            values[section] = {**values.get(section, {}), name: value}
        else:
            values[section] = value
    return make_recipe(values)


def register() -> None:
    """Makes ``model.kind: toy`` known to recipes."""
    from diffalign.training.models import MODELS, ModelKind

    MODELS["toy"] = ModelKind(lambda: ToyConfig, lambda config: ToyPolicy())


def main(arguments: list[str]) -> None:
    """``OUTPUT [die_at=N] [resume=1] [section__name=VALUE ...]``"""
    from diffalign.training.loop import train

    options: dict[str, Any] = {}
    for argument in arguments[1:]:
        key, _, value = argument.partition("=")
        options[key] = json.loads(value)
    policy = ToyPolicy(die_at=options.pop("die_at", 0))
    resume = bool(options.pop("resume", 0))
    pairs = toy_pairs(options.pop("pairs", 12))
    train(toy_recipe(Path(arguments[0]), **options), policy=policy, pairs=pairs, resume=resume)
    rank = os.environ.get("RANK", "0")
    Path(arguments[0], f"seen-{rank}.json").write_text(json.dumps([policy.seen, policy.state()["change"].tolist()]))


if __name__ == "__main__":
    main(sys.argv[1:])
