"""Compares one optimizer step of diffalign with a hand-written one of the same arithmetic: time and memory as ratios.

    python -m benchmarks.image_step [--rounds 3] [--steps 2] [--pairs 2]

The model of `benchmarks.image_setting`, fp32 unless stated. Bars: D1 and D2 (at most 1.05 of the raw loop), D3 (gain
from caching), D5 (a LoRA against the full step without a cache), D12 (activation checkpointing).
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from benchmarks.image_setting import make_model, make_pairs, make_recipe
from benchmarks.measure import Measurement, measure_interleaved
from benchmarks.raw_image import BETA, RawLoop

COUNT = 16


def main() -> None:
    """Measures, and prints a table of ratios."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=2, help="measured steps per variant and round")
    parser.add_argument("--pairs", type=int, default=2, help="pairs per optimizer step")
    args = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        make_model(root / "model")
        make_pairs(root / "pairs", COUNT)
        raw, diffalign = partial(prepare_raw, root, args.pairs), partial(prepare_diffalign, root, args.pairs)
        results = measure_interleaved(
            {
                "raw": partial(raw, cached=False),
                "diffalign": partial(diffalign, cached=False),
                "raw, cached": partial(raw, cached=True),
                "diffalign, cached": partial(diffalign, cached=True),
                "raw, cached, LoRA": partial(raw, cached=True, lora=16),
                "diffalign, cached, LoRA": partial(diffalign, cached=True, lora=16),
                "raw, cached, LoRA, bf16": partial(raw, cached=True, lora=16, bf16=True),
                "diffalign, cached, LoRA, bf16": partial(diffalign, cached=True, lora=16, bf16=True),
                "diffalign, cached, checkpointing": partial(diffalign, cached=True, checkpointing=True),
            },
            rounds=args.rounds,
            steps=args.steps,
        )
    print(table(results))


def table(results: dict[str, Measurement]) -> str:
    """Returns the ratios, each with its bar."""
    rows = [
        ("D1 step, nothing cached", "diffalign", "raw", "<= 1.05 / 1.05"),
        ("D2 step from cached latents", "diffalign, cached", "raw, cached", "<= 1.05 / 1.05"),
        ("   the same with a LoRA", "diffalign, cached, LoRA", "raw, cached, LoRA", "<= 1.05 / 1.05"),
        ("   the same with a LoRA, bf16", "diffalign, cached, LoRA, bf16", "raw, cached, LoRA, bf16", "<= 1.05 / 1.05"),
        ("D3 caching, against the uncached raw loop", "diffalign, cached", "raw", "<= 0.74 / 0.95"),
        ("D5 LoRA, against the uncached raw loop", "diffalign, cached, LoRA", "raw", "<= 0.62 / 0.65"),
        ("D5 LoRA, bf16, against the same", "diffalign, cached, LoRA, bf16", "raw", "<= 0.45 / 0.55"),
        (
            "D12 checkpointing, against without",
            "diffalign, cached, checkpointing",
            "diffalign, cached",
            "<= 1.20 / 0.90",
        ),
    ]
    lines = ["", f"{'':<44} {'time':>6} {'memory':>7}   bar (time / memory)"]
    for title, variant, baseline, bar in rows:
        a, b = results[variant], results[baseline]
        lines.append(f"{title:<44} {a.step / b.step:6.2f} {a.memory / b.memory:7.2f}   {bar}")
    return "\n".join(lines)


def prepare_raw(root: Path, batch: int, **settings: Any) -> Callable[[], Any]:
    """Sets up a raw loop and returns its step."""
    from diffusers import StableDiffusionPipeline

    torch.manual_seed(0)
    pipeline = StableDiffusionPipeline.from_pretrained(root / "model", safety_checker=None)
    rows = [json.loads(line) for line in (root / "pairs" / "metadata.jsonl").read_text().splitlines()]
    names = [(row["chosen_file_name"], row["rejected_file_name"]) for row in rows]
    pixels = torch.stack([torch.stack([_pixels(root / "pairs" / name) for name in pair]) for pair in names])
    return RawLoop(pipeline, pixels, [row["prompt"] for row in rows], batch=batch, **settings).step


def prepare_diffalign(
    root: Path, batch: int, *, cached: bool, lora: int | None = None, bf16: bool = False, checkpointing: bool = False
) -> Callable[[], Any]:
    """Sets up a run of diffalign and returns its step."""
    from diffalign.training.loop import training_step
    from diffalign.training.setup.assemble_run import open_run

    recipe = make_recipe(
        root,
        batch,
        model={"adapter": lora and {"rank": lora, "targets": "attention"}, "use_cache": cached},
        train={"mixed_precision": "bf16" if bf16 else "no", "gradient_checkpointing": checkpointing},
        loss={"name": "logistic", "beta": BETA},
    )
    run = open_run(recipe, None, None, resume=False, check_only=False)
    return partial(training_step, run)


def _pixels(path: Path) -> torch.Tensor:
    return torch.from_numpy(np.asarray(Image.open(path)).copy()).permute(2, 0, 1).float() / 127.5 - 1


if __name__ == "__main__":
    main()
