"""One optimizer step of the loop beside a hand-written one of the same arithmetic: time and memory as ratios.

    python -m benchmarks.image_step [--rounds 3] [--steps 2] [--pairs 2]

The model of `benchmarks.setting`, fp32 unless said. Bars: D1 and D2 (at most 1.05 of the raw loop), D3 (what caching
gives), D5 (a LoRA against the full step without a cache), D12 (activation checkpointing).
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

from benchmarks.measure import Measured, interleaved
from benchmarks.raw_image import BETA, RawLoop
from benchmarks.setting import make_model, make_pairs, make_recipe

COUNT = 16


def main() -> None:
    """Measure, and print a table of ratios."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=2, help="measured steps of a variant in a round")
    parser.add_argument("--pairs", type=int, default=2, help="pairs per optimizer step")
    args = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        make_model(place / "model")
        make_pairs(place / "pairs", COUNT)
        raw, ours = partial(prepare_raw, place, args.pairs), partial(prepare_ours, place, args.pairs)
        results = interleaved(
            {
                "raw": partial(raw, cached=False),
                "diffalign": partial(ours, cached=False),
                "raw, cached": partial(raw, cached=True),
                "diffalign, cached": partial(ours, cached=True),
                "raw, cached, LoRA": partial(raw, cached=True, lora=16),
                "diffalign, cached, LoRA": partial(ours, cached=True, lora=16),
                "raw, cached, LoRA, bf16": partial(raw, cached=True, lora=16, bf16=True),
                "diffalign, cached, LoRA, bf16": partial(ours, cached=True, lora=16, bf16=True),
                "diffalign, cached, checkpointing": partial(ours, cached=True, checkpointing=True),
            },
            rounds=args.rounds,
            steps=args.steps,
        )
    print(table(results))


def table(results: dict[str, Measured]) -> str:
    """The ratios, with the bar that each is held against."""
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
    for what, one, other, bar in rows:
        a, b = results[one], results[other]
        lines.append(f"{what:<44} {a.step / b.step:6.2f} {a.memory / b.memory:7.2f}   {bar}")
    return "\n".join(lines)


def prepare_raw(place: Path, batch: int, **settings: Any) -> Callable[[], Any]:
    """A raw loop, ready to step."""
    from diffusers import StableDiffusionPipeline

    torch.manual_seed(0)
    pipeline = StableDiffusionPipeline.from_pretrained(place / "model", safety_checker=None)
    rows = [json.loads(line) for line in (place / "pairs" / "metadata.jsonl").read_text().splitlines()]
    names = [(row["chosen_file_name"], row["rejected_file_name"]) for row in rows]
    pixels = torch.stack([torch.stack([_pixels(place / "pairs" / name) for name in pair]) for pair in names])
    return RawLoop(pipeline, pixels, [row["prompt"] for row in rows], batch=batch, **settings).step


def prepare_ours(
    place: Path, batch: int, *, cached: bool, lora: int | None = None, bf16: bool = False, checkpointing: bool = False
) -> Callable[[], Any]:
    """A run of the library, ready to step."""
    from diffalign.training.loop import training_step
    from diffalign.training.setup.open_run import open_run

    recipe = make_recipe(
        place,
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
