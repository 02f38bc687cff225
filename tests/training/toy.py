"""The smallest policy: a linear denoiser of 6 numbers, and what tests of the loop need around it.

Also a program: ``python toy.py OUTPUT [key=value ...]`` trains it, so that a test can kill it or start it twice; with
``each`` instead, it forks a child for each list of arguments, so that many runs are killed for one start, and with
``two`` two processes of one run for each pair of lists.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor, nn

from diffalign.data.records.pair import Pair
from diffalign.data.storage.cached_candidate import CachedCandidate
from diffalign.data.storage.tensor_cache import TensorCache
from diffalign.errors import UserError
from diffalign.losses.candidate_logps import CandidateLogps
from diffalign.policies.diffusion.scoring.forward_counts import ForwardCounts
from diffalign.policies.latent_noise import LatentNoise
from diffalign.policies.module_utils import unwrap
from diffalign.policies.policy import BatchLogps, no_progress
from diffalign.policies.second_adapter import SecondAdapter
from diffalign.policies.trainable import Trainable
from diffalign.randomness import Draw, stream

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
    """Implements `Policy` and `LatentPolicy`.

    Args:
        poison: Id of a pair whose log-probabilities are nan.
        die_at, die_sampling, die_inverting: The call of scoring, sampling, inverting at which the process is killed.
        shout: The range of calls, ``[first, last)``, in which log-probabilities are a million times too large.
        refresh: Steps for which inverted latents are kept; 0: it does not invert.
        stop_at: The call of scoring at which the process sends itself SIGTERM.
    """

    medium = "image"
    eval_draws = 4
    reference_kind = "adapter_off"
    latent_elements = WIDTH

    def __init__(
        self,
        poison: str = "",
        die_at: int = 0,
        shout: tuple[int, int] = (0, 0),
        die_sampling: int = 0,
        die_inverting: int = 0,
        refresh: int = 0,
        stop_at: int = 0,
    ) -> None:
        self.module: nn.Module = ToyModule()
        self.forward_counts = ForwardCounts()
        self._trainable = Trainable(self.module)
        self._change = self.module.change
        self.poison, self.shout, self.stop_at = poison, shout, stop_at
        self._die = {"score": die_at, "sample": die_sampling, "invert": die_inverting}
        self._count = dict.fromkeys(self._die, 0)
        self.latents_refresh_every = refresh
        self.prepared = 0
        self.seen: list[tuple[str, int]] = []
        self.referenced: list[str] = []
        self.encoded: set[int] = set()
        self.made: list[tuple[str, int]] = []
        self.inverted: list[tuple[str, int]] = []
        self.reference_change = torch.zeros(WIDTH, WIDTH)
        self._previous_change = torch.zeros(WIDTH, WIDTH)
        self._window: TensorCache | None = None

    @property
    def calls(self) -> int:
        return self._count["score"]

    def _called(self, what: str) -> None:
        self._count[what] += 1
        if self._count[what] == self._die[what]:
            os.kill(os.getpid(), signal.SIGKILL)

    def show(self, pair) -> str:
        return pair.id

    def microbatch_order(self, pairs) -> list[int]:
        return list(range(len(pairs)))

    def describe(self) -> dict[str, str]:
        return {"model": "toy", "reference": "its base"}

    def fingerprint(self) -> str:
        return "toy"

    def prepare(self, pairs, progress) -> list[str]:
        self.prepared = len(pairs)
        progress("toy latents", len(pairs), len(pairs))
        return []

    def prepare_reference(self, pairs, plan, seed, batch=8, progress=no_progress, prompts=False) -> int:
        return 0

    def encode(self, pairs, prompts=False) -> Any:
        rows = torch.stack([_candidates(pair.id) for pair in pairs])
        self.encoded.add(1 if pairs[0].rejected is None else 2)
        if pairs[0].rejected is None:
            return torch.stack([_alone(pair) for pair in pairs])
        for row, pair in zip(rows, pairs, strict=True):
            if isinstance(pair.rejected, CachedCandidate):
                row[1] = pair.rejected.read()["x"]
        return rows

    def logps(self, encoded, draw) -> BatchLogps:
        self._called("score")
        if self.calls == self.stop_at:
            os.kill(os.getpid(), signal.SIGTERM)
        self.seen += list(zip(draw.ids, draw.visits, strict=True))
        self.forward_counts.policy += encoded.shape[0] * encoded.shape[1]
        scored = self._scored(self.module, encoded, draw)
        if self.shout[0] <= self.calls < self.shout[1]:
            loud = [CandidateLogps(c.logps * 1e6) for c in scored.candidates]
            scored = BatchLogps(tuple(loud), scored.info)
        return scored

    def reference_logps(self, encoded, draw) -> BatchLogps:
        self.referenced += draw.ids
        self.forward_counts.reference += encoded.shape[0] * encoded.shape[1]
        return self._scored(self._with_change(self.reference_change), encoded, draw)

    def compare_parts(self, encoded, draw) -> tuple[BatchLogps, BatchLogps]:
        noisy, noise, level = self._noisy(encoded, draw)
        with torch.no_grad():
            reference = self._with_change(self.reference_change)(noisy)
        policy = self.module(noisy)
        divergence = (policy - reference).square() / (2 * WIDTH)
        sides = []
        for output in (policy, reference):
            parts = -(output - noise).square() / (2 * WIDTH)
            sides.append([CandidateLogps(part.sum(1), parts=part) for part in parts.unbind(1)])
        sides[0] = [replace(one, divergence=gap) for one, gap in zip(sides[0], divergence.unbind(1), strict=True)]
        return tuple(BatchLogps(tuple(side), {"level": level}) for side in sides)

    inverts = False

    def latent_noise(self, pairs, latents=None, batch=8) -> LatentNoise:
        return LatentNoise("forward", {0: 1.0}, len(pairs), 0)

    def forward_errors(self, pairs, batch=8) -> list[float]:
        draw = Draw(0, tuple(pair.id for pair in pairs), (-1,) * len(pairs))
        with torch.no_grad():
            scored = self._scored(self._bare(), self.encode(pairs), draw)
        return (-2.0 * torch.stack([candidate.logps for candidate in scored.candidates]).mean(0)).tolist()

    def set_reference(self, state) -> None:
        self.reference_change, self.reference_kind = state["change"].clone(), "earlier"

    def set_previous(self, state) -> None:
        self._previous_change = state["change"].clone()

    def previous_logps(self, encoded, draw) -> BatchLogps:
        return self._scored(self._with_change(self._previous_change), encoded, draw)

    def add_second_adapter(self) -> SecondAdapter:
        self._trainable.second = SecondAdapter(self._trainable.parameters)
        return self._trainable.second

    def second_adapter_logps(self, encoded, draw) -> BatchLogps:
        return self._scored(self._trainable.second.network(self._bare), encoded, draw)

    def make_candidates(self, prompts, seeds, store, keys, *, reference=False, **settings) -> list[CachedCandidate]:
        self._called("sample")
        assert settings["steps"]
        change = self.reference_change if reference else self._change.detach()
        asked = list(zip(prompts, seeds, strict=True))
        self.made += asked
        noises = [stream(seed, prompt, 0, "toy").standard_normal(WIDTH, dtype="float32") for prompt, seed in asked]
        made = [(self._bare.base + change) @ torch.from_numpy(noise) for noise in noises]
        store.put_many({key: {"x": x} for key, x in zip(keys, made, strict=True)})
        return [CachedCandidate(str(store.root), store.maker, key) for key in keys]

    def refresh_latents(self, pairs, plan, seed, folder, number, batch=8, progress=no_progress) -> int:
        """Finds noises that depend on the weights as they are."""
        self._window = TensorCache(folder, f"window {number}")
        missing = set(self._window.missing([f"{pairs[index].id} {visit}" for index, visit in plan]))
        for index, visit in plan:
            key = f"{pairs[index].id} {visit}"
            if key in missing:
                self._called("invert")
                self.inverted.append((pairs[index].id, visit))
                noise = Draw(seed, (pairs[index].id,), (visit,)).normal("noise", (WIDTH,))
                with torch.no_grad():
                    self._window.put_many({key: {"noise": noise[0] + 3 * self._bare.change @ noise[0]}})
        progress("invert", len(missing), len(missing))
        return len(missing)

    def _noise(self, draw) -> Tensor:
        if self._window is None:
            return draw.normal("noise", (WIDTH,))
        keys = [f"{key} {visit}" for key, visit in zip(draw.ids, draw.visits, strict=True)]
        return torch.stack([self._window.get(key)["noise"] for key in keys])

    def _scored(self, network, encoded, draw) -> BatchLogps:
        noisy, noise, level = self._noisy(encoded, draw)
        errors = (network(noisy.reshape(-1, WIDTH)).reshape(noisy.shape) - noise).float().square().mean(dim=-1)
        poisoned = torch.tensor([float("nan") if key == self.poison else 1.0 for key in draw.ids])
        errors = errors * poisoned[:, None]
        return BatchLogps(tuple(CandidateLogps(-error / 2) for error in errors.unbind(1)), {"level": level})

    def _noisy(self, encoded, draw) -> tuple[Tensor, Tensor, Tensor]:
        """Noisy candidates and their noises, ``(B, candidates, WIDTH)``, and noise levels ``(B,)``."""
        level = draw.uniform("timestep").float()
        noise = self._noise(draw)[:, None].expand_as(encoded)
        return (1 - level)[:, None, None] * encoded + level[:, None, None] * noise, noise, level

    def _with_change(self, change: Tensor):
        """The network with a change of its own instead of the trained one."""
        return lambda x: x @ (self._bare.base + change).T

    @property
    def _bare(self) -> ToyModule:
        return unwrap(self.module)

    def trainable(self) -> dict[str, nn.Parameter]:
        return self._trainable.everything

    def state(self) -> dict[str, Tensor]:
        return self._trainable.state()

    def load_state(self, state) -> None:
        self._trainable.load(state)

    def sampling(self):
        return nullcontext()

    def sample(self, prompts, seeds, *, reference=False, **settings) -> list[str]:
        size = 0.0 if reference else float(self._change.detach().abs().sum())
        return [f"{prompt} {seed} {size:.6f}" for prompt, seed in zip(prompts, seeds, strict=True)]

    def format_prompt(self, prompt, **settings) -> str:
        return prompt

    def save(self, folder, about) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / "toy.json"
        path.write_text(json.dumps({"change": self._change.tolist(), "about": dict(about)}))
        return path

    def card(self, artifact, card) -> Path:
        path = artifact.parent / "README.md"
        path.write_text(f"# toy, aligned by {card.method}\n")
        return path


def _candidates(key: str) -> Tensor:
    """Two of them, which lie in different directions."""
    row = stream(0, key, 0, "toy").standard_normal((2, WIDTH), dtype="float32")
    return torch.from_numpy(row) + 3 * torch.eye(2).repeat_interleave(WIDTH // 2, dim=1)


def _alone(pair) -> Tensor:
    """One of the two, by what the pair calls it; the first one of its own id where that is no name of the toy's."""
    side, _, key = str(pair.chosen).partition(" ")
    return _candidates(key or pair.id)[1:] if side == "r" else _candidates(key or pair.id)[:1]


def toy_pairs(count: int = 12) -> list[Pair]:
    """Pairs whose candidates the toy makes up from their ids."""
    return [Pair(id=f"p{k}", prompt=f"prompt {k % 5}", chosen=f"c p{k}", rejected=f"r p{k}") for k in range(count)]


def toy_recipe(output: Path, **changes: Any):
    """A recipe of 10 steps; ``train__steps=5`` changes a value."""
    from diffalign.training.recipe.load import make_recipe

    register()
    values: dict[str, Any] = {
        "model": {"kind": "toy", "path": "toy"},
        "data": {"train": "memory"},
        "loss": {"name": "logistic", "beta": 50.0},
        "train": {
            "steps": 10,
            "batch_size": 8,
            "micro_batch_size": 4,
            "learning_rate": 0.01,
            "ema_decay": 0.9,
            "mixed_precision": "no",
        },
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
    from diffalign.training.recipe.model_kinds import MODELS

    MODELS["toy"] = replace(MODELS["image"], config=lambda: ToyConfig, open=lambda config: ToyPolicy())


def main(arguments: list[str]) -> None:
    """``OUTPUT [die_at=N] [refresh=N] [stop_at=N] [resume=1] [section__name=VALUE ...]``"""
    from diffalign.training.loop import train

    options: dict[str, Any] = {}
    for argument in arguments[1:]:
        key, _, value = argument.partition("=")
        options[key] = json.loads(value)
    names = ("die_at", "die_sampling", "die_inverting", "refresh", "stop_at")
    switches = {name: options.pop(name) for name in names if name in options}
    policy = ToyPolicy(**switches)
    resume = bool(options.pop("resume", 0))
    pairs = toy_pairs()
    train(toy_recipe(Path(arguments[0]), **options), policy=policy, pairs=pairs, resume=resume)
    rank = os.environ.get("RANK", "0")
    seen = [policy.seen, policy.state()["change"].tolist(), policy.made]
    Path(arguments[0], f"seen-{rank}.json").write_text(json.dumps(seen))


def each(jobs: list[list[str]]) -> None:
    """Does :func:`main` in a child of its own for each job; fails where one of them was not killed."""
    import accelerate  # noqa: F401  (imported once, before the children are made)

    import diffalign.training.loop  # noqa: F401

    for job in jobs:
        child = os.fork()
        if not child:
            main(job)
            os._exit(0)
        status = os.waitpid(child, 0)[1]
        assert os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL, (job, status)


def program(arguments: list[str]) -> int:
    """Does :func:`main` as the command line does, and returns the exit status."""
    try:
        main(arguments)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        return getattr(error, "exit_code", 2)
    return 0


def two(jobs: list[list[list[str]]]) -> None:
    """Does each job, the arguments of two processes of one run, in two children, one job after the other.

    Prints the statuses of each job; what a child prints goes to ``OUTPUT-RANK.txt``.
    """
    import accelerate  # noqa: F401  (imported once, before the children are made)

    import diffalign.training.loop  # noqa: F401

    for job in jobs:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = str(free.getsockname()[1])
        os.environ |= {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        children = []
        for rank, arguments in enumerate(job):
            children.append(os.fork())
            if not children[-1]:
                os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank)}
                os.dup2(os.open(f"{arguments[0]}-{rank}.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND), 2)
                os._exit(program(arguments))
        print(json.dumps([os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]), flush=True)


if __name__ == "__main__":
    if sys.argv[1] in ("each", "two"):
        {"each": each, "two": two}[sys.argv[1]](json.loads(sys.argv[2]))
    else:
        raise SystemExit(program(sys.argv[1:]))
