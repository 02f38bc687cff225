"""Cost of methods relative to Diffusion-DPO: measured seconds, and counted evaluations of the denoiser.

    python -m benchmarks.methods [--rounds 2] [--steps 1] [--pairs 2] [--device cuda] [--lora 16]

F is one forward pass of one latent; a backward pass counts 2. "counted" comes from the run (`policy.forward_counts`),
"formula" from the levels that were drawn, and "all levels" is the same formula over all levels with the preset's own
sampler. Encodings are cached. "per F" is the time of a counted evaluation relative to one of Diffusion-DPO; a value
above 1 is time that a method spends outside the network.

All levels are drawn from [502, 600), where each inversion takes the same number of steps: 6 of 10 if exact, 7 if
released; over all levels the means are 5.5 and 6.4. Bars: D7 (InPO <= 2.3; SmPO <= 2.4 with half its evaluations), D9
(a step from stored latents <= 1.03), D10 (with its preparation).
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from benchmarks.image_setting import make_model, make_pairs, make_recipe
from benchmarks.measure import clock, measure_interleaved
from benchmarks.methods_table import StepCounts, table

LEVELS = (502, 600)


@dataclass(frozen=True)
class Bench:
    """Options of all variants."""

    root: Path
    pairs: int
    device: str
    lora: int | None
    sampling_steps: int
    draws: int

    @property
    def bf16(self) -> bool:
        """Whether networks compute under bfloat16."""
        return self.device != "cpu"

    def autocast(self) -> Any:
        """Returns the precision of a run, for computations outside its steps."""
        return torch.autocast(self.device, torch.bfloat16, enabled=self.bf16)


def main() -> None:
    """Measures, and prints the tables."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--steps", type=int, default=1, help="measured steps per variant and round")
    parser.add_argument("--pairs", type=int, default=2, help="pairs per optimizer step")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu", help="cuda runs under bf16")
    parser.add_argument("--lora", type=int, default=None, help="rank of an adapter; by default all weights train")
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 4, 16], help="samples generated at once")
    parser.add_argument("--sampling-steps", type=int, default=2, help="steps per sample; the preset has 50")
    parser.add_argument("--draws", type=int, default=4, help="stored draws per pair")
    args = parser.parse_args()
    torch.set_num_threads(1)
    if args.device == "cpu":
        os.environ["ACCELERATE_USE_CPU"] = "true"
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder), args.pairs, args.device, args.lora, args.sampling_steps, args.draws)
        make_model(bench.root / "model")
        make_pairs(bench.root / "pairs", args.pairs)  # each step sees each pair once
        results = measure_interleaved(
            variants(bench, args.batches), rounds=args.rounds, steps=args.steps, device=args.device
        )
    print(table(results, LEVELS, args.sampling_steps, args.draws, args.batches))


def variants(bench: Bench, batches: list[int]) -> dict[str, Callable[[], Callable[[], StepCounts]]]:
    """Returns all variants by name."""
    released, reference = {"latents": {"mode": "released"}}, {"inverter": "reference"}
    stored = {"name": "ddim_inversion", **reference, "store": True}
    rounds = {"name": "checkpoint", "every": 1000, "steps": bench.sampling_steps}
    step = partial(prepare_step, bench)
    return {
        **{name: partial(step, name) for name in ("diffusion_dpo", "ddim_inpo", "smpo", "sft", "mapo")},
        "seppo": partial(step, "seppo", pairs=rounds),
        "ddim_inpo, released": partial(step, "ddim_inpo", **released),
        "smpo, released": partial(step, "smpo", **released),
        "reference inverts, live": partial(step, "ddim_inpo", latents=reference),
        "reference inverts, stored": partial(step, "ddim_inpo", latents=stored, draws=bench.draws),
        "stored, its errors as well": partial(step, "ddim_inpo", latents=stored, draws=bench.draws, reference="stored"),
        **{f"sampling {batch}": partial(prepare_sampling, bench, batch) for batch in batches},
    }


def prepare_step(bench: Bench, method: str, **changes: Any) -> Callable[[], StepCounts]:
    """Sets up a run of a method, measures the preparation of stored tensors, and returns its step.

    Args:
        bench: Options of all variants.
        method: A preset.
        changes: Sections ``pairs`` and ``latents`` of the recipe; other names are settings of its model.
    """
    from diffalign.pairs import DatasetPairs, read_dataset
    from diffalign.policies.diffusion.load import load_policy
    from diffalign.training.loop import training_step
    from diffalign.training.setup.assemble_run import open_run
    from diffalign.training.step.batch_order import BatchOrder

    sections = {name: changes.pop(name) for name in ("pairs", "latents") if name in changes}
    if changes:  # its own cache, so that its preparation is measured
        changes["cache"] = tempfile.mkdtemp(dir=bench.root)
    recipe = _recipe(bench, method, changes, sections)
    unscored = read_dataset(str(bench.root / "pairs")).pairs
    count = len(unscored)
    scores = [{"chosen": {"pickscore": 22.0 - i / count}, "rejected": {"pickscore": 20.0}} for i in range(count)]
    pairs = tuple(replace(pair, scores=score) for pair, score in zip(unscored, scores, strict=True))
    data = DatasetPairs(pairs, ranges={"pickscore": (20.0, 22.0)})
    policy = load_policy(recipe.model, bench.device)
    policy.prepare(pairs)
    now, plan = clock(bench.device), BatchOrder(len(pairs), bench.pairs, recipe.train.seed).plan(recipe.train.steps)
    started = now()
    with bench.autocast():
        policy.prepare_reference(pairs, plan, recipe.train.seed, batch=bench.pairs) if changes else None
    preparation = StepCounts(policy.forward_counts.as_dict(), now() - started, {}, len(pairs))
    run = open_run(recipe, policy, data, resume=False, check_only=False)
    run.enter_round()

    def step() -> StepCounts:
        before = policy.forward_counts.as_dict()
        training_step(run)
        after = policy.forward_counts.as_dict()
        return replace(preparation, step={name: after[name] - before[name] for name in after})

    return step


def prepare_sampling(bench: Bench, batch: int) -> Callable[[], StepCounts]:
    """Sets up SePPO's sampling stage; each step generates ``batch`` candidates at once, as a round does."""
    from diffalign.data.storage.tensor_cache import TensorCache
    from diffalign.methods import METHODS
    from diffalign.policies.diffusion.load import load_policy

    recipe = _recipe(bench, "seppo", {}, {})
    policy = load_policy(recipe.model, bench.device)
    policy.set_reference(policy.state())
    policy.sampling().__enter__()  # for the life of this process
    cache = TensorCache(Path(tempfile.mkdtemp(dir=bench.root)), "samples")
    preset = METHODS["seppo"].defaults["pairs"]
    settings = {**{name: preset[name] for name in ("guidance", "sampler")}, "steps": bench.sampling_steps}
    done = 0

    def step() -> StepCounts:
        nonlocal done
        before, numbers = policy.forward_counts.as_dict(), range(done, done + batch)
        prompts = [f"a flat drawing of {number} things" for number in numbers]
        keys = [f"{number:032x}" for number in numbers]
        with bench.autocast():
            policy.make_candidates(prompts, list(numbers), cache, keys, reference=True, batch=batch, **settings)
        done += batch
        after = policy.forward_counts.as_dict()
        return StepCounts({}, 0.0, {name: after[name] - before[name] for name in after}, batch)

    return step


def _recipe(bench: Bench, method: str, model: dict[str, Any], sections: dict[str, Any]) -> Any:
    adapter = bench.lora and {"rank": bench.lora, "targets": "attention"}
    dtype = "bfloat16" if bench.bf16 else "float32"
    return make_recipe(
        bench.root,
        bench.pairs,
        method=method,
        model={"adapter": adapter, "dtype": dtype, "timesteps": LEVELS, **model},
        train={
            "micro_batch_size": bench.pairs,
            "scale_lr": False,
            "schedule": "constant",
            "warmup_steps": 0,
            "mixed_precision": "bf16" if bench.bf16 else "no",
        },
        **sections,
    )


if __name__ == "__main__":
    main()
