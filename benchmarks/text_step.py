"""Compares one optimizer step of DPO on texts with TRL's and a hand-written one: speed and memory as ratios.

    python -m benchmarks.text_step [--rounds 3] [--steps 2] [--bars LM1 LM4] [--shipped]

The model and the texts of `benchmarks.text_setting`, fp32 unless stated. Each library trains on the same tokens in the
same order. At the end the losses of all steps are compared, and the run fails if they differ. "TRL" puts only positions
of completions through the head, as on a GPU (`benchmarks.trl_step`); with ``--shipped`` also as it runs on this CPU.
"""

from __future__ import annotations

import argparse
import importlib
import io
import math
import os
import tempfile
import warnings
from collections.abc import Callable, Mapping
from contextlib import redirect_stderr, redirect_stdout
from functools import partial
from pathlib import Path
from typing import Any

import torch

from benchmarks.measure import Prepare, measure_interleaved
from benchmarks.raw_text import RawText
from benchmarks.text_setting import BETA, LEARNING_RATE, MAX_GRAD_NORM, SHAPES, Job, make_job, make_llama
from benchmarks.text_table import BARS, SHIPPED, check_losses, numbers, table
from benchmarks.trl_step import TrlLoop

RANK = 16


def main() -> None:
    """Measures, and prints a table of ratios."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=2, help="measured steps per variant and round")
    parser.add_argument("--bars", nargs="+", default=[], metavar="LM1", help="bars to measure; by default all")
    parser.add_argument(
        "--sides", nargs="+", default=["diffalign", "TRL", "raw"], help="libraries to measure; ratios need both"
    )
    parser.add_argument("--shipped", action="store_true", help="measure TRL as it runs on a CPU too (slow): LM2, LM3")
    args = parser.parse_args()
    prepare_process()
    bars = [
        bar
        for bar in (*BARS, *(SHIPPED if args.shipped else ()))
        if not args.bars or {bar.id, bar.id.split("-")[0]} & {*args.bars}
    ]
    needed = [name for bar in bars for name in (bar.variant, bar.baseline)]
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        tempfile.tempdir = folder  # forked children do not delete their temporary files
        make_llama(root / "model")
        jobs = {name: make_job(root / "model", shape) for name, shape in SHAPES.items()}
        chosen = {
            name: prepare
            for name, prepare in variants(root, jobs).items()
            if name in needed and name.split(",")[0].removesuffix(" as shipped") in args.sides
        }
        results = measure_interleaved(chosen, rounds=args.rounds, steps=args.steps)
    print(numbers(results, {name: shape.pairs for name, shape in SHAPES.items()}))
    print(table(results, bars))
    check_losses(results)


def variants(root: Path, jobs: Mapping[str, Job]) -> dict[str, Prepare]:
    """Returns all variants by name: library, shape of the texts, options."""
    kinds: dict[str, dict[str, Any]] = {
        "": {},
        ", stored": {"stored": True},
        ", bf16": {"bf16": True},
        ", LoRA": {"lora": RANK},
    }
    diffalign, trl, raw = partial(prepare_diffalign, root), partial(_prepare, TrlLoop), partial(_prepare, RawText)
    sides = {"TRL": trl, "raw": raw, "diffalign": diffalign}
    long = jobs["384+64"]
    return {
        **{
            f"{side}, 384+64{kind}": partial(sides[side], long, **options)
            for kind, options in kinds.items()
            for side in sides
        },
        "diffalign, 384+64, low memory": partial(diffalign, long, low_memory=True),
        **{f"{side}, {shape}": partial(sides[side], jobs[shape]) for shape in ("64+64", "varied") for side in sides},
        "TRL as shipped, 384+64": partial(trl, long, compact=False),
        "TRL as shipped, 384+64, defaults": partial(trl, long, compact=False, bf16=True, checkpointing=True),
    }


def prepare_diffalign(
    root: Path,
    job: Job,
    *,
    stored: bool = False,
    bf16: bool = False,
    lora: int | None = None,
    low_memory: bool = False,
) -> Callable[[], tuple[float, ...]]:
    """Sets up a run of diffalign and returns its step.

    Args:
        root: A folder for the files of the run.
        job: Model, pairs and their order.
        stored: Whether the reference's log-probabilities are computed once, before the first step.
        bf16: Whether networks compute under bfloat16 autocast.
        lora: Rank of an adapter on attention; None trains every weight, with a frozen copy as reference.
        low_memory: Whether to recompute activations and logits in the backward pass.
    """
    from diffalign.data.records.pair import Pair
    from diffalign.training.loop import training_step
    from diffalign.training.recipe.load import make_recipe
    from diffalign.training.setup.assemble_run import open_run

    folder = Path(tempfile.mkdtemp(dir=root))
    recipe = make_recipe(
        {
            "model": {
                "kind": "text",
                "path": str(job.model),
                "adapter": lora and {"rank": lora, "targets": "attention"},
                "reference": "stored" if stored else "adapter_off" if lora else "copy",
                "cache": str(folder / "cache"),
                **({"head_memory": 0} if low_memory else {}),
            },
            "data": {"train": "memory"},
            "loss": {"name": "logistic", "beta": BETA},
            "train": {
                "steps": 1000,
                "batch_size": job.order.batch_size,
                "learning_rate": LEARNING_RATE,
                "weight_decay": 0.0,
                "max_grad_norm": MAX_GRAD_NORM,
                "mixed_precision": "bf16" if bf16 else "no",
                "gradient_checkpointing": low_memory,
                "seed": job.order.seed,
            },
            "log": {"every": 1000},
            "checkpoint": {"every": 0},
            "output": str(folder / "run"),
        }
    )
    pairs = [Pair(id=str(number), **row.texts()) for number, row in enumerate(job.rows)]
    with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):  # hides the header of the run
        run = open_run(recipe, None, pairs, resume=False, check_only=False)

    def step() -> tuple[float, ...]:
        training_step(run)
        return tuple(map(math.exp, run.guard.history["loss"]))

    return step


def _prepare(loop: Callable[..., Any], job: Job, **options: Any) -> Callable[[], tuple[float, ...]]:
    return loop(job, **options).step


def prepare_process() -> None:
    """Sets one thread, disables progress bars, and imports all libraries before the first fork, so that the measured
    memory is that of a loop."""
    os.environ |= {"TQDM_DISABLE": "1", "HF_HUB_OFFLINE": "1", "ACCELERATE_USE_CPU": "true"}
    torch.set_num_threads(1)
    warnings.simplefilter("ignore", FutureWarning)
    for name in LIBRARIES:
        importlib.import_module(name)
    from transformers.utils import logging

    logging.disable_progress_bar()
    logging.set_verbosity_error()


LIBRARIES = (
    "accelerate",
    "datasets",
    "peft",
    "torch._dynamo",
    "torch.utils.checkpoint",
    "transformers.models.llama.modeling_llama",
    "trl.trainer.dpo_trainer",
    "diffalign.training.loop",
    "diffalign.training.recipe.load",
    "diffalign.policies.language.load",
    "diffalign.policies.diffusion.load",
)


if __name__ == "__main__":
    main()
