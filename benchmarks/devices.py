"""What each choice of memory and precision costs and saves: one optimizer step beside the plain one, as ratios.

    python -m benchmarks.devices [--rounds 2] [--steps 2] [--media image text]

Plain is an adapter of rank 16 on attention, float32, the whole step at once. The image model is that of
`benchmarks.image_setting`, the texts are those of `benchmarks.text_setting` with 64 + 64 tokens.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.image_setting import make_model, make_pairs
from benchmarks.image_setting import make_recipe as make_image_recipe
from benchmarks.measure import Measurement, measure_interleaved
from benchmarks.text_setting import SHAPES, Job, make_job, make_llama
from benchmarks.text_step import prepare_process

PAIRS = 4
PLAIN = "plain"
ADAPTER = {"rank": 16, "targets": "attention"}
EVERY_WEIGHT = {"adapter": None}
CHOICES: dict[str, dict[str, Any]] = {
    PLAIN: {},
    "train.gradient_checkpointing": {"train": {"gradient_checkpointing": True}},
    "train.micro_batch_size=1": {"train": {"micro_batch_size": 1}},
    "train.mixed_precision=bf16": {"train": {"mixed_precision": "bf16"}},
    "model.dtype=bfloat16": {"model": {"dtype": "bfloat16"}},
    "model.quantize=int8": {"model": {"quantize": "int8"}},
    "model.quantize=nf4": {"model": {"quantize": "nf4"}},
    "train.gradient_checkpointing, model.offload=blocks": {
        "model": {"offload": "blocks"},
        "train": {"gradient_checkpointing": True},
    },
    "train.optimizer=adamw8bit": {"train": {"optimizer": "adamw8bit"}},
    "model.channels_last": {"model": {"channels_last": True}},
    "train.mixed_precision=bf16, model.channels_last": {
        "model": {"channels_last": True},
        "train": {"mixed_precision": "bf16"},
    },
    "model.reference=stored": {"model": {"reference": "stored"}},
    "train.ema_decay": {"train": {"ema_decay": 0.99}},
    "every weight, reference copied": {"model": {**EVERY_WEIGHT, "reference": "copy"}},
    "every weight, reference stored": {"model": {**EVERY_WEIGHT, "reference": "stored"}},
    "every weight, stored, adafactor": {
        "model": {**EVERY_WEIGHT, "reference": "stored"},
        "train": {"optimizer": "adafactor"},
    },
}
IMAGES_ONLY = tuple(name for name in CHOICES if "channels_last" in name)
"""Choices that a language model does not have."""


def main() -> None:
    """Measures, and prints a table of ratios for each medium."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--steps", type=int, default=2, help="measured steps per variant and round")
    parser.add_argument("--media", nargs="+", default=["image", "text"], choices=["image", "text"])
    args = parser.parse_args()
    prepare_process()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        tempfile.tempdir = folder  # forked children do not delete their temporary files
        for medium in args.media:
            prepare = prepare_images(root) if medium == "image" else prepare_texts(root)
            choices = {name: choice for name, choice in CHOICES.items() if medium == "image" or name not in IMAGES_ONLY}
            variants = {name: partial(prepare, choice) for name, choice in choices.items()}
            print(table(medium, measure_interleaved(variants, rounds=args.rounds, steps=args.steps)))


def table(medium: str, results: Mapping[str, Measurement]) -> str:
    """Returns time and memory of each choice as ratios to the plain one."""
    plain = results[PLAIN]
    lines = ["", f"{medium + ': choice':<36} {'time':>6} {'memory':>7}"]
    lines += [
        f"{name:<36} {found.step / plain.step:6.2f} {found.memory / plain.memory:7.2f}"
        for name, found in results.items()
    ]
    return "\n".join([*lines, f"plain: {plain.step:.2f} s a step, {plain.memory:.0f} MB above the libraries", ""])


def prepare_images(root: Path) -> Callable[[Mapping[str, Any]], Callable[[], Any]]:
    """Writes the image model and its pairs. Returns what sets up a run with a choice; it returns its step."""
    make_model(root / "model")
    make_pairs(root / "pairs", 4 * PAIRS)

    def prepare(choice: Mapping[str, Any]) -> Callable[[], Any]:
        from diffalign.training.loop import training_step
        from diffalign.training.setup.assemble_run import open_run

        model = {"adapter": ADAPTER, **choice.get("model", {})}
        train = {"mixed_precision": "no", "steps": 8, **choice.get("train", {})}
        recipe = make_image_recipe(root, PAIRS, model=model, train=train, loss={"name": "logistic", "beta": 5000.0})
        return partial(training_step, open_run(recipe, None, None, resume=False, check_only=False))

    return prepare


def prepare_texts(root: Path) -> Callable[[Mapping[str, Any]], Callable[[], Any]]:
    """Likewise for a language model and texts."""
    make_llama(root / "llama")
    job: Job = make_job(root / "llama", SHAPES["64+64"])

    def prepare(choice: Mapping[str, Any]) -> Callable[[], Any]:
        from diffalign.data.records.pair import Pair
        from diffalign.training.loop import training_step
        from diffalign.training.recipe.load import make_recipe
        from diffalign.training.setup.assemble_run import open_run

        folder = Path(tempfile.mkdtemp(dir=root))
        settings = {"kind": "text", "path": str(job.model), "cache": str(folder / "cache")}
        train = {"steps": 8, "batch_size": PAIRS, "learning_rate": 1e-5, "mixed_precision": "no"}
        values = {
            "model": {**settings, "adapter": ADAPTER, **choice.get("model", {})},
            "data": {"train": "memory"},
            "loss": {"name": "logistic", "beta": 0.1},
            "train": {**train, **choice.get("train", {})},
            "checkpoint": {"every": 0},
            "output": str(folder / "run"),
        }
        pairs = [Pair(id=str(number), **row.texts()) for number, row in enumerate(job.rows)]
        return partial(training_step, open_run(make_recipe(values), None, pairs, resume=False, check_only=False))

    return prepare


if __name__ == "__main__":
    main()
